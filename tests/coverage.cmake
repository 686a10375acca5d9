# Every line but those of kernels, which each op's tests run whole, counts how often it ran. -O1 keeps lines apart;
# counters are added to atomically, for threads share them.
foreach(target core_once core_float core_double app sluice)
  target_compile_options(${target} PRIVATE -O1 -g --coverage -fprofile-update=atomic)
endforeach()
# Whatever is linked with these needs the counters' library; how processes leave is in coverage.c.
target_sources(core_float PRIVATE tests/coverage.c)
target_sources(core_double PRIVATE tests/coverage.c)
foreach(target core_float core_double)
  target_link_options(${target} INTERFACE --coverage -Wl,--wrap=_exit -Wl,--wrap=child_end)
endforeach()
