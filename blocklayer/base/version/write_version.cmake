# SPDX-License-Identifier: Apache-2.0
# cmake -DSOURCE=DIR -DVERSION=1.2.3 -DOUTPUT=FILE.cc -P write_version.cmake
#
# Writes the definition of Version(): "1.2.3 (commit 0123456789ab)", with "-dirty" after a commit
# whose files were changed since; "1.2.3" alone where SOURCE is not the top of a git work tree.
find_program(GIT git)
set(git ${GIT} --no-optional-locks -c safe.directory=* -C ${SOURCE})
set(commit "")
if(GIT)
  execute_process(COMMAND ${git} rev-parse --show-prefix
    OUTPUT_VARIABLE prefix RESULT_VARIABLE outside ERROR_QUIET OUTPUT_STRIP_TRAILING_WHITESPACE)
  # Within somebody else's repository the commit would be theirs.
  if(outside EQUAL 0 AND prefix STREQUAL "")
    execute_process(COMMAND ${git} describe --always --dirty --abbrev=12 --exclude=*
      OUTPUT_VARIABLE commit ERROR_QUIET OUTPUT_STRIP_TRAILING_WHITESPACE)
  endif()
endif()
set(text "${VERSION}")
if(NOT commit STREQUAL "")
  set(text "${VERSION} (commit ${commit})")
endif()
file(CONFIGURE OUTPUT ${OUTPUT} @ONLY CONTENT [[
// Written by the build; see blocklayer/base/version.
#include "blocklayer/base/version/version.h"

namespace chainfs {
const char* Version() { return "@text@"; }
}  // namespace chainfs
]])
