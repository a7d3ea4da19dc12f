# SPDX-License-Identifier: Apache-2.0
# For the presets that want clang, by whichever name this system has it; 19 is what the sources are
# checked with.
find_program(chainfs_clang NAMES clang++-19 clang++ clang++-20 clang++-18 REQUIRED)
set(CMAKE_CXX_COMPILER ${chainfs_clang})
