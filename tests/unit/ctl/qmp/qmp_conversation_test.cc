// SPDX-License-Identifier: Apache-2.0
//
// What is said on a connection. Sentences and classes are those that qemu-storage-daemon 7.2 gives.
#include "ctl/qmp/conversation.h"

#include <array>

#include "tests/unit/ctl/qmp/qmp_fixture.h"

namespace chainfs::qmp {
namespace {

using ConversationTest = QmpTest;

TEST_F(ConversationTest, BeginsWithAGreeting) {
  const QmpClient client(socket_);
  ASSERT_TRUE(client.connected());
  const json& said = client.greeting()["QMP"];
  EXPECT_EQ(said["version"]["qemu"]["major"], 7);
  EXPECT_EQ(said["capabilities"], json::array());
}

TEST_F(ConversationTest, NothingGoesBeforeTheNegotiation) {
  QmpClient client(socket_);
  EXPECT_EQ(client.Ask("query-jobs")["error"],
            (json{{"class", "CommandNotFound"},
                  {"desc", "Expecting capabilities negotiation with 'qmp_capabilities'"}}));
  EXPECT_EQ(client.ErrorClass("qmp_capabilities", {{"enable", {"oob"}}}), "GenericError");
  EXPECT_EQ(client.Return("qmp_capabilities", {{"enable", json::array()}}), json::object());
  EXPECT_EQ(client.Ask("qmp_capabilities")["error"]["class"], "CommandNotFound");
  EXPECT_EQ(client.Return("query-jobs"), json::array());
}

TEST_F(ConversationTest, ARequestIsAnsweredUnderItsMark) {
  const auto client = Connect();
  ASSERT_TRUE(client->Send(R"({"execute":"query-jobs","id":{"a":[5,null]}})"));
  EXPECT_EQ(client->NextLine(), json::parse(R"({"return":[],"id":{"a":[5,null]}})"));
  ASSERT_TRUE(client->Send(R"({"execute":"nosuch","id":7})"));
  EXPECT_EQ(client->NextLine(), json::parse(R"({"id":7,"error":{"class":"CommandNotFound",)"
                                            R"("desc":"The command nosuch has not been found"}})"));
}

TEST_F(ConversationTest, MalformedRequestsAreTold) {
  constexpr std::array<std::array<std::string_view, 2>, 11> kRequests = {{
      {R"({"execute":5})", "QMP input member 'execute' must be a string"},
      {R"({"execute":"query-jobs","x":5})", "QMP input member 'x' is unexpected"},
      {R"({"execute":"query-jobs","arguments":5})",
       "QMP input member 'arguments' must be an object"},
      {R"({"execute":"query-jobs","arguments":{"a":5}})", "Parameter 'a' is unexpected"},
      {R"({"id":7})", "QMP input lacks member 'execute'"},
      {"[1]", "QMP input must be a JSON object"},
      {"5\n", "QMP input must be a JSON object"},
      {"hello\n", "JSON parse error"},
      {"{]\n", "JSON parse error"},
      {R"({"execute":"query-jobs","execute":"query-jobs"})", "JSON parse error, duplicate key"},
      {"}", "JSON parse error, expecting value"},
  }};
  const auto client = Connect();
  for (const auto& [request, sentence] : kRequests) {
    ASSERT_TRUE(client->Send(request));
    EXPECT_EQ(client->NextLine()["error"], (json{{"class", "GenericError"}, {"desc", sentence}}))
        << request;
  }
  ASSERT_TRUE(client->Send("{'execute':'query-jobs'}{'execute':'query-jobs'}"));
  EXPECT_EQ(client->NextLine()["return"], json::array());
  EXPECT_EQ(client->NextLine()["return"], json::array());
}

TEST_F(ConversationTest, EveryCommandOfTheListIsThere) {
  const auto client = Connect();
  const json commands = client->Return("query-commands");
  ASSERT_GT(commands.size(), 20U);
  for (const json& command : commands) {
    // A parameter that none has; the command does nothing.
    const std::string name = command["name"];
    const std::string error = client->Error(name, {{"no-such-parameter", 1}});
    EXPECT_EQ(error.find("has not been found"), std::string::npos) << error;
    EXPECT_NE(client->ErrorClass(name, {{"no-such-parameter", 1}}), "") << name;
  }
}

TEST_F(ConversationTest, TheVersionNamesChainfs) {
  const auto client = Connect();
  const std::string package = client->Return("query-version")["package"];
  EXPECT_TRUE(package.starts_with("chainfs ")) << package;
  EXPECT_EQ(client->Return("query-status")["running"], true);
}

}  // namespace
}  // namespace chainfs::qmp
