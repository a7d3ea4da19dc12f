// SPDX-License-Identifier: Apache-2.0
//
// Reading JSON that another program made: nothing here throws, a missing key or a value of another
// type reads as empty, 0 or false.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "blocklayer/base/result.h"

namespace chainfs::chainctl {

// kIo, naming `what`, when `text` is not JSON.
Result<nlohmann::json> ParseJson(std::string_view text, std::string_view what);

std::string TextOf(const nlohmann::json& object, const char* key);
uint64_t NumberOf(const nlohmann::json& object, const char* key);
std::optional<uint64_t> MaybeNumberOf(const nlohmann::json& object, const char* key);
bool FlagOf(const nlohmann::json& object, const char* key);
// An empty array when there is none of that name.
// The strings of an array; what is none is left out.
std::vector<std::string> TextsOf(const nlohmann::json& object, const char* key);
const nlohmann::json& ArrayOf(const nlohmann::json& object, const char* key);

// One line; invalid UTF-8 is replaced.
std::string OneLine(const nlohmann::json& value);

}  // namespace chainfs::chainctl
