// SPDX-License-Identifier: Apache-2.0
#include "ctl/qmp/conversation.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <exception>
#include <new>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "ctl/qmp/about.h"
#include "ctl/qmp/command_table.h"
#include "ctl/qmp/parameters.h"
#include "ctl/qmp/wire_text.h"

namespace chainfs::qmp {
namespace {

using Json = nlohmann::ordered_json;

// With what the request was marked by, if anything.
std::string Reply(const char* kind, Json value, const nlohmann::json* id) {
  Json reply;
  reply[kind] = std::move(value);
  if (id != nullptr) reply["id"] = Json(*id);
  return WireText(reply);
}

std::string ErrorReply(const QmpError& error, const nlohmann::json* id) {
  return Reply("error", {{"class", error.error_class}, {"desc", error.description}}, id);
}

// An object has a key once; the parser would let the last one win.
std::expected<nlohmann::json, QmpError> Parse(std::string_view message) {
  std::vector<std::set<std::string>> keys;
  bool repeated = false;
  const auto look = [&](int /*depth*/, nlohmann::json::parse_event_t event,
                        nlohmann::json& parsed) {
    using Event = nlohmann::json::parse_event_t;
    if (event == Event::object_start) keys.emplace_back();
    if (event == Event::object_end) keys.pop_back();
    if (event == Event::key) repeated |= !keys.back().insert(parsed.get<std::string>()).second;
    return true;
  };
  nlohmann::json parsed = nlohmann::json::parse(message, look, false);
  if (parsed.is_discarded()) return Refuse("JSON parse error");
  if (repeated) return Refuse("JSON parse error, duplicate key");
  if (!parsed.is_object()) return Refuse("QMP input must be a JSON object");
  return parsed;
}

QmpStatus CheckMembers(const nlohmann::json& request) {
  for (const auto& [name, value] : request.items()) {
    if (name == "execute") {
      if (!value.is_string()) return Refuse("QMP input member 'execute' must be a string");
    } else if (name == "arguments") {
      if (!value.is_object()) return Refuse("QMP input member 'arguments' must be an object");
    } else if (name != "id") {
      return Refuse(fmt::format("QMP input member '{}' is unexpected", name));
    }
  }
  if (!request.contains("execute")) return Refuse("QMP input lacks member 'execute'");
  return {};
}

}  // namespace

std::string Conversation::Hello() const { return WireText(Greeting()); }

std::string Conversation::AnswerToGarbage(std::string_view error) {
  return ErrorReply(QmpError(std::string(error)), nullptr);
}

std::string Conversation::AnswerTo(std::string_view message) {
  try {
    const std::expected<nlohmann::json, QmpError> request = Parse(message);
    if (!request) return ErrorReply(request.error(), nullptr);
    const auto found = request->find("id");
    const nlohmann::json* const id = found == request->end() ? nullptr : &*found;
    Answer answer = Run(*request);
    if (!answer) return ErrorReply(answer.error(), id);
    return Reply("return", *std::move(answer), id);
  } catch (const std::bad_alloc&) {
    return AnswerToGarbage("chainfs is out of memory");
  } catch (const std::exception& error) {
    spdlog::error("QMP: {}", error.what());
    return AnswerToGarbage("internal error");
  }
}

Answer Conversation::Run(const nlohmann::json& request) {
  CHAINFS_TRY(CheckMembers(request));
  const std::string name = request["execute"].get<std::string>();
  const nlohmann::json arguments = request.value("arguments", nlohmann::json::object());
  if (name == "qmp_capabilities") return Negotiate(arguments);
  if (!negotiated_) {
    return Refuse("Expecting capabilities negotiation with 'qmp_capabilities'", kCommandNotFound);
  }
  const Command* const command = FindCommand(name);
  if (command == nullptr) {
    return Refuse(fmt::format("The command {} has not been found", name), kCommandNotFound);
  }
  Parameters parameters(arguments);
  return command->run(client_, parameters);
}

Answer Conversation::Negotiate(const nlohmann::json& arguments) {
  if (negotiated_) {
    return Refuse("Capabilities negotiation is already complete, command ignored",
                  kCommandNotFound);
  }
  Parameters parameters(arguments);
  const nlohmann::json* const wanted = parameters.Any("enable");
  CHAINFS_TRY(parameters.Finish());
  if (wanted != nullptr && (!wanted->is_array() || !wanted->empty())) {
    return Refuse("no capability is offered, so none can be enabled");
  }
  negotiated_ = true;
  return Json::object();
}

}  // namespace chainfs::qmp
