#pragma once

/// Layer 6: which weights to cut away. Pruner<Metric, Structure> returns a Mask; pare::apply puts it into effect.
#include "pare/prune/n_of_m.hpp"
#include "pare/prune/pruner.hpp"
#include "pare/prune/saliency.hpp"
#include "pare/prune/structure.hpp"
#include "pare/prune/unstructured.hpp"
