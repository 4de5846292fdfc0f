// expect: (deleted function|deleted constructor)
#include <pare/core/core.hpp>
#include <utility>

int main() {
  pare::Buffer original;
#ifdef SHOULD_COMPILE
  const pare::Buffer other = std::move(original);
#else
  const pare::Buffer other = original;
#endif
  return static_cast<int>(other.size());
}
