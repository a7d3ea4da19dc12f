// SPDX-License-Identifier: Apache-2.0
#include "ctl/qmp/transaction_command.h"

#include <fmt/format.h>

#include <array>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "ctl/qmp/snapshot_command.h"

namespace chainfs::qmp {
namespace {

constexpr std::array<std::string_view, 2> kActions = {"blockdev-snapshot-sync", "abort"};
constexpr std::array<std::string_view, 2> kCompletionModes = {"individual", "grouped"};

// Snapshots end at once, so there is nothing to group.
QmpStatus CheckProperties(const nlohmann::json* properties) {
  if (properties == nullptr) return {};
  if (!properties->is_object()) {
    return Refuse("Invalid parameter type for 'properties', expected: object");
  }
  Parameters parameters(*properties, "properties.");
  const std::optional<std::string> mode =
      parameters.OptionalWord("completion-mode", kCompletionModes);
  CHAINFS_TRY(parameters.Finish());
  if (mode != "grouped") return {};
  return Refuse(
      "Action 'blockdev-snapshot-sync' does not support Transaction property completion-mode = "
      "'grouped'");
}

std::expected<SnapshotOrder, QmpError> TakeAction(Client& client, const nlohmann::json& action) {
  if (!action.is_object()) {
    return Refuse("Invalid parameter type for 'actions', expected: object");
  }
  Parameters parameters(action);
  const std::string type = parameters.Word("type", kActions);
  const nlohmann::json* const data = parameters.Object("data");
  CHAINFS_TRY(parameters.Finish());
  if (type == "abort") return Refuse("Transaction aborted using Abort action");
  Parameters of_action(*data);
  return TakeSnapshotOrder(client, of_action);
}

// "DISK/snapshot/ARGUMENTS;...", in which a semicolon that belongs to a name is doubled.
std::string ActionsText(const std::vector<SnapshotOrder>& orders) {
  std::string text;
  for (const SnapshotOrder& order : orders) {
    if (!text.empty()) text += ';';
    const std::string action =
        fmt::format("{}/snapshot/{}", order.disk->name(), order.arguments.Format());
    for (const char letter : action) {
      if (letter == ';') text += ';';
      text += letter;
    }
  }
  return text;
}

QmpStatus CheckNames(const std::vector<SnapshotOrder>& orders) {
  std::set<std::string> names;
  for (const SnapshotOrder& order : orders) {
    // After a separator it would read as one that is doubled.
    if (order.disk->name().starts_with(';')) {
      return Refuse(fmt::format("'{}' cannot be part of a transaction because of its first letter",
                                order.disk->name()));
    }
    if (order.overlay_name && !names.insert(*order.overlay_name).second) {
      return Refuse("New overlay node-name already in use");
    }
  }
  return {};
}

}  // namespace

Answer Transaction(Client& client, Parameters& parameters) {
  const nlohmann::json* const actions = parameters.Array("actions");
  const nlohmann::json* const properties = parameters.Any("properties");
  CHAINFS_TRY(parameters.Finish());
  CHAINFS_TRY(CheckProperties(properties));
  std::vector<SnapshotOrder> orders;
  for (const nlohmann::json& action : *actions) {
    CHAINFS_ASSIGN(SnapshotOrder order, TakeAction(client, action));
    orders.push_back(std::move(order));
  }
  if (orders.empty()) return nlohmann::ordered_json::object();
  CHAINFS_TRY(CheckNames(orders));
  CHAINFS_TRY(
      client.Order("transaction", verbs::Arguments().Set("actions", ActionsText(orders)), nullptr));
  for (const SnapshotOrder& order : orders) order.NameOverlay(client);
  return nlohmann::ordered_json::object();
}

}  // namespace chainfs::qmp
