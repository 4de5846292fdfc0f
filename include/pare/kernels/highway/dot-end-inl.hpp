// Pass file: closes what dot-begin-inl.hpp opened.
}  // namespace PARE_DOT
}  // namespace HWY_NAMESPACE
}  // namespace PARE_ABI
}  // namespace pare
#if PARE_VNNI
HWY_POP_ATTRIBUTES
#else
HWY_AFTER_NAMESPACE();
#endif
#undef PARE_DOT
