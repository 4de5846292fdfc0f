// Pass file, read once per target, and once more with PARE_VNNI where AVX-512 VNNI may be there: opens the namespace of
// what multiplies small integers, which each of the two has for itself. dot-end-inl.hpp closes it.
#if PARE_VNNI
#define PARE_DOT vnni
HWY_PUSH_ATTRIBUTES(HWY_TARGET_STR ",avx512vnni,avx512vbmi")
#else
#define PARE_DOT plain
HWY_BEFORE_NAMESPACE();
#endif
namespace pare {
inline namespace PARE_ABI {
namespace HWY_NAMESPACE {
namespace PARE_DOT {
