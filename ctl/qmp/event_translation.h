// SPDX-License-Identifier: Apache-2.0
//
// An event of the log in QEMU's form: {"timestamp": {...}, "event": "...", "data": {...}}, with
// QEMU's fields, of which `device` is the job's id where it is about a job.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace chainfs::qmp {

// `line` as EventLog has it. What to send; nothing for an event that QEMU has not (JOB_PROGRESS,
// CHAIN_CHANGE), except LOST with its count, so that a slow reader knows.
std::optional<std::string> TranslateEvent(std::string_view line);

}  // namespace chainfs::qmp
