// SPDX-License-Identifier: Apache-2.0
#include "ctl/qmp/event_translation.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <chrono>
#include <map>
#include <nlohmann/json.hpp>

#include "ctl/qmp/wire_text.h"

namespace chainfs::qmp {
namespace {

using Json = nlohmann::ordered_json;

int Digits(std::string_view text, size_t start, size_t count) {
  int number = 0;
  if (text.size() < start + count) return 0;
  std::from_chars(text.data() + start, text.data() + start + count, number);
  return number;
}

// Of "2024-05-01T12:00:00.000001Z".
Json Timestamp(std::string_view utc) {
  using std::chrono::day;
  using std::chrono::month;
  using std::chrono::year;
  const std::chrono::sys_days date{year(Digits(utc, 0, 4)) /
                                   month(static_cast<unsigned>(Digits(utc, 5, 2))) /
                                   day(static_cast<unsigned>(Digits(utc, 8, 2)))};
  const auto time = date + std::chrono::hours(Digits(utc, 11, 2)) +
                    std::chrono::minutes(Digits(utc, 14, 2)) +
                    std::chrono::seconds(Digits(utc, 17, 2));
  return {{"seconds", time.time_since_epoch() / std::chrono::seconds(1)},
          {"microseconds", Digits(utc, 20, 6)}};
}

// The fields that it has of those.
Json Picked(const Json& event, std::initializer_list<std::string_view> names) {
  Json data = Json::object();
  for (const std::string_view name : names) {
    const auto found = event.find(name);
    if (found != event.end()) data[std::string(name)] = *found;
  }
  return data;
}

Json StatusData(const Json& event) { return Picked(event, {"status", "id"}); }

Json JobData(const Json& event) {
  Json data = Picked(event, {"type", "len", "offset", "speed", "error"});
  data["device"] = event.value("id", "");
  return data;
}

Json JobErrorData(const Json& event) {
  Json data = Picked(event, {"operation", "action"});
  data["device"] = event.value("id", "");
  return data;
}

Json CorruptedData(const Json& event) {
  return {{"device", event.value("disk", "")}, {"msg", event.value("reason", "")}, {"fatal", true}};
}

Json IoErrorData(const Json& event) {
  return {{"qom-path", ""},
          {"device", event.value("disk", "")},
          {"operation", event.value("operation", "") == "read" ? "read" : "write"},
          {"action", "report"},
          {"nospace", event.value("error", "") == "no-space"},
          {"reason", event.value("reason", "")}};
}

Json LostData(const Json& event) { return Picked(event, {"count"}); }

Json ShutdownData(const Json& /*event*/) { return {{"guest", false}, {"reason", "host-signal"}}; }

struct Translation {
  std::string_view event;
  Json (*data)(const Json& event);
};

constexpr std::array<Translation, 10> kTranslations = {{
    {"JOB_STATUS_CHANGE", StatusData},
    {"BLOCK_JOB_READY", JobData},
    {"BLOCK_JOB_COMPLETED", JobData},
    {"BLOCK_JOB_CANCELLED", JobData},
    {"BLOCK_JOB_PENDING", [](const Json& event) { return Picked(event, {"type", "id"}); }},
    {"BLOCK_JOB_ERROR", JobErrorData},
    {"BLOCK_IMAGE_CORRUPTED", CorruptedData},
    {"BLOCK_IO_ERROR", IoErrorData},
    {"LOST", LostData},
    {"SHUTDOWN", ShutdownData},
}};

}  // namespace

std::optional<std::string> TranslateEvent(std::string_view line) {
  const Json event = Json::parse(line, nullptr, false);
  if (!event.is_object()) return std::nullopt;
  const std::string name = event.value("event", "");
  const auto found = std::ranges::find(kTranslations, name, &Translation::event);
  if (found == kTranslations.end()) return std::nullopt;
  return WireText(Json{{"timestamp", Timestamp(event.value("time", ""))},
                       {"event", name},
                       {"data", found->data(event)}});
}

}  // namespace chainfs::qmp
