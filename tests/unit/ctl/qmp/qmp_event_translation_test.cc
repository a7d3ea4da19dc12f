// SPDX-License-Identifier: Apache-2.0
#include "ctl/qmp/event_translation.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "ctl/qmp/wire_text.h"

namespace chainfs::qmp {
namespace {

using nlohmann::json;

// Null when it is not sent.
json Translated(const json& event) {
  const std::optional<std::string> line = TranslateEvent(event.dump());
  return line ? json::parse(*line) : json();
}

TEST(WireText, IsSpacedAsQemuDoesIt) {
  EXPECT_EQ(WireText({{"return", nlohmann::ordered_json::object()}}), "{\"return\": {}}\r\n");
  EXPECT_EQ(WireText({{"a", {1, 2}}, {"b", "c:\",\\"}}),
            "{\"a\": [1, 2], \"b\": \"c:\\\",\\\\\"}\r\n");
  EXPECT_EQ(WireText("\xff"), "\"\xef\xbf\xbd\"\r\n");
}

TEST(EventTranslation, TimeIsInSecondsAndMicroseconds) {
  const json event =
      Translated({{"seq", 1}, {"time", "2026-11-27T23:57:03.000120Z"}, {"event", "SHUTDOWN"}});
  EXPECT_EQ(event["timestamp"], (json{{"seconds", 1795823823}, {"microseconds", 120}}));
  EXPECT_EQ(event["data"], (json{{"guest", false}, {"reason", "host-signal"}}));
}

TEST(EventTranslation, TheDeviceOfAJobIsItsId) {
  const json facts = {{"time", "2026-11-27T23:57:03.000120Z"},
                      {"event", "BLOCK_JOB_COMPLETED"},
                      {"type", "stream"},
                      {"device", "vm1"},
                      {"len", 8},
                      {"offset", 4},
                      {"speed", 0},
                      {"error", "no space"},
                      {"disk", "vm1"},
                      {"id", "j"}};
  EXPECT_EQ(Translated(facts)["data"], (json{{"type", "stream"},
                                             {"device", "j"},
                                             {"len", 8},
                                             {"offset", 4},
                                             {"speed", 0},
                                             {"error", "no space"}}));
}

TEST(EventTranslation, AStatusHasItsIdAlone) {
  const json event = Translated(
      {{"event", "JOB_STATUS_CHANGE"}, {"status", "running"}, {"disk", "vm1"}, {"id", "j"}});
  EXPECT_EQ(event["data"], (json{{"status", "running"}, {"id", "j"}}));
}

TEST(EventTranslation, ErrorsOfDisksAreThoseOfDevices) {
  json failed = {{"event", "BLOCK_IO_ERROR"},
                 {"disk", "vm1"},
                 {"operation", "flush"},
                 {"error", "no-space"},
                 {"reason", "full"}};
  json data = Translated(failed)["data"];
  EXPECT_EQ(data["device"], "vm1");
  EXPECT_EQ(data["operation"], "write");
  EXPECT_EQ(data["nospace"], true);
  failed["event"] = "BLOCK_IMAGE_CORRUPTED";
  data = Translated(failed)["data"];
  EXPECT_EQ(data, (json{{"device", "vm1"}, {"msg", "full"}, {"fatal", true}}));
}

TEST(EventTranslation, WhatQemuHasNotIsNotSent) {
  EXPECT_TRUE(Translated({{"event", "JOB_PROGRESS"}}).is_null());
  EXPECT_TRUE(Translated({{"event", "CHAIN_CHANGE"}}).is_null());
  EXPECT_EQ(TranslateEvent("not JSON"), std::nullopt);
  EXPECT_EQ(Translated({{"event", "LOST"}, {"count", 5}})["data"], (json{{"count", 5}}));
}

}  // namespace
}  // namespace chainfs::qmp
