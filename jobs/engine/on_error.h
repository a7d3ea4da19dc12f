// SPDX-License-Identifier: Apache-2.0
//
// OnError: what a chunk that fails does to its job, in QEMU's words: the policy that a command
// names, and the action that follows from it.
//
// Threads: values.
#pragma once

#include <cstdint>
#include <string_view>

#include "blocklayer/base/result.h"

namespace chainfs::jobs {

enum class OnError : uint8_t {
  kReport,  // the job ends at once
  kIgnore,  // goes on; ends with an error, the chain as it was
  kStop,    // pauses; resume tries the same chunk again
  kEnospc,  // kStop for lack of space, else kReport
};
std::string_view OnErrorName(OnError policy);  // "report"
// kInvalidArgument naming the words that there are.
Result<OnError> ParseOnError(std::string_view word);

enum class ErrorAction : uint8_t { kReport, kIgnore, kStop };
ErrorAction ActionOn(OnError policy, const Error& error);
std::string_view ErrorActionName(ErrorAction action);  // "report", as in BLOCK_JOB_ERROR
// "nospace" or "failed": of a job that stands still because of it.
std::string_view IoStatusName(const Error& error);

}  // namespace chainfs::jobs
