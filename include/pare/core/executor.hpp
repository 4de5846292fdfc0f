#pragma once

#include <cstddef>
#include <memory>
#include <type_traits>
#include <utility>

namespace pare {

template <class Signature>
class FunctionRef;

/// A non-owning reference to a callable. A function may be given as it is; any other callable must outlive every call.
template <class R, class... Args>
class FunctionRef<R(Args...)> {
 public:
  template <class F>
    requires(!std::is_same_v<std::remove_cvref_t<F>, FunctionRef> && std::is_invocable_r_v<R, F&, Args...>)
  FunctionRef(F&& callable) noexcept {
    using Callable = std::remove_reference_t<F>;
    if constexpr (std::is_function_v<Callable>) {
      target_.function = reinterpret_cast<void (*)()>(&callable);
      call_ = [](Target target, Args... args) -> R {
        return reinterpret_cast<Callable*>(target.function)(std::forward<Args>(args)...);
      };
    } else {
      target_.object = const_cast<void*>(static_cast<const void*>(std::addressof(callable)));
      call_ = [](Target target, Args... args) -> R {
        return (*static_cast<Callable*>(target.object))(std::forward<Args>(args)...);
      };
    }
  }

  R operator()(Args... args) const { return call_(target_, std::forward<Args>(args)...); }

 private:
  union Target {
    void* object;
    void (*function)();
  };
  Target target_;
  R (*call_)(Target, Args...);
};

/// One piece of parallel work, called with its index.
using Task = FunctionRef<void(std::size_t)>;

/// Runs a loop in one go on the calling thread.
struct SerialExecutor {
  void operator()(std::size_t count, Task task) const {
    for (std::size_t i = 0; i < count; ++i) task(i);
  }
};

inline constexpr SerialExecutor serial{};

/// How the caller's threads are lent to pare: a callable `(count, task)` that runs task(0) .. task(count - 1), in any
/// order, on any threads, and returns when all of them have. No result of pare depends on the order.
using Executor = FunctionRef<void(std::size_t, Task)>;

}  // namespace pare
