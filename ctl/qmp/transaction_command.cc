// SPDX-License-Identifier: Apache-2.0
#include "ctl/qmp/transaction_command.h"

#include <fmt/format.h>

#include <array>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "ctl/qmp/copy_commands.h"
#include "ctl/qmp/snapshot_command.h"

namespace chainfs::qmp {
namespace {

constexpr std::array<std::string_view, 4> kActions = {"blockdev-snapshot-sync", "blockdev-backup",
                                                      "drive-backup", "abort"};
constexpr std::array<std::string_view, 2> kCompletionModes = {"individual", "grouped"};

struct Orders {
  std::vector<SnapshotOrder> snapshots;
  std::vector<JobOrder> jobs;
};

std::expected<bool, QmpError> WantsGrouped(const nlohmann::json* properties) {
  if (properties == nullptr) return false;
  if (!properties->is_object()) {
    return Refuse("Invalid parameter type for 'properties', expected: object");
  }
  Parameters parameters(*properties, "properties.");
  const std::optional<std::string> mode =
      parameters.OptionalWord("completion-mode", kCompletionModes);
  CHAINFS_TRY(parameters.Finish());
  return mode == "grouped";
}

QmpStatus TakeAction(Client& client, const nlohmann::json& action, Orders& orders) {
  if (!action.is_object()) {
    return Refuse("Invalid parameter type for 'actions', expected: object");
  }
  Parameters parameters(action);
  const std::string type = parameters.Word("type", kActions);
  const nlohmann::json* const data = parameters.Object("data");
  CHAINFS_TRY(parameters.Finish());
  if (type == "abort") return Refuse("Transaction aborted using Abort action");
  Parameters of_action(*data);
  if (type == "blockdev-snapshot-sync") {
    CHAINFS_ASSIGN(SnapshotOrder order, TakeSnapshotOrder(client, of_action));
    orders.snapshots.push_back(std::move(order));
    return {};
  }
  const TargetBy by = type == "drive-backup" ? TargetBy::kFile : TargetBy::kNode;
  CHAINFS_ASSIGN(JobOrder order, TakeBackupOrder(client, of_action, by));
  CHAINFS_TRY(CheckNewJobId(client, order.choice.id));
  order.arguments.Set("id", order.choice.id);
  orders.jobs.push_back(std::move(order));
  return {};
}

// What a snapshot does is over at once, so there is nothing to group.
QmpStatus RefuseGrouped(const Orders& orders) {
  if (orders.snapshots.empty()) {
    return Refuse("completion-mode = 'grouped' is not supported: each job ends by itself");
  }
  return Refuse(
      "Action 'blockdev-snapshot-sync' does not support Transaction property completion-mode = "
      "'grouped'");
}

QmpStatus CheckNames(const Orders& orders) {
  std::set<std::string> nodes;
  for (const SnapshotOrder& order : orders.snapshots) {
    if (order.overlay_name && !nodes.insert(*order.overlay_name).second) {
      return Refuse("New overlay node-name already in use");
    }
  }
  std::set<std::string> ids;
  for (const JobOrder& order : orders.jobs) {
    if (ids.insert(order.choice.id).second) continue;
    return Refuse(fmt::format("Job ID '{}' already in use", order.choice.id));
  }
  return {};
}

// "DISK/VERB/ARGUMENTS;...", in which a semicolon that belongs to a name is doubled.
class ActionsText {
 public:
  QmpStatus Add(const DiskPtr& disk, std::string_view verb, const verbs::Arguments& arguments) {
    // After a separator it would read as one that is doubled.
    if (disk->name().starts_with(';')) {
      return Refuse(fmt::format("'{}' cannot be part of a transaction because of its first letter",
                                disk->name()));
    }
    if (!text_.empty()) text_ += ';';
    for (const char letter : fmt::format("{}/{}/{}", disk->name(), verb, arguments.Format())) {
      if (letter == ';') text_ += ';';
      text_ += letter;
    }
    disks_.push_back(disk);
    return {};
  }
  const std::string& text() const { return text_; }
  const std::vector<DiskPtr>& disks() const { return disks_; }

 private:
  std::string text_;
  std::vector<DiskPtr> disks_;
};

QmpStatus CarryOut(Client& client, const Orders& orders) {
  ActionsText actions;
  std::vector<std::string> ids;
  for (const SnapshotOrder& order : orders.snapshots) {
    CHAINFS_TRY(actions.Add(order.disk, "snapshot", order.arguments));
  }
  for (const JobOrder& order : orders.jobs) {
    CHAINFS_TRY(actions.Add(order.disk, order.verb, order.arguments));
    ids.push_back(order.choice.id);
  }
  const verbs::Arguments arguments = verbs::Arguments().Set("actions", actions.text());
  Status done = client.plane.CheckWriting(actions.disks(), true, client.caller);
  if (done) {
    done = StartUnderIds(client, ids, [&] {
      return client.plane.commands.Execute("transaction", arguments.Format(), nullptr,
                                           client.caller);
    });
  }
  if (!done) {
    client.Remember("transaction", nullptr, done.error());
    return done;
  }
  for (const JobOrder& order : orders.jobs) {
    if (order.choice.auto_dismiss) client.started.Add(order.choice.id);
  }
  for (const SnapshotOrder& order : orders.snapshots) order.NameOverlay(client);
  return {};
}

}  // namespace

Answer Transaction(Client& client, Parameters& parameters) {
  const nlohmann::json* const actions = parameters.Array("actions");
  const nlohmann::json* const properties = parameters.Any("properties");
  CHAINFS_TRY(parameters.Finish());
  CHAINFS_ASSIGN(const bool grouped, WantsGrouped(properties));
  Orders orders;
  for (const nlohmann::json& action : *actions) {
    CHAINFS_TRY(TakeAction(client, action, orders));
  }
  if (grouped) CHAINFS_TRY(RefuseGrouped(orders));
  if (orders.snapshots.empty() && orders.jobs.empty()) return nlohmann::ordered_json::object();
  CHAINFS_TRY(CheckNames(orders));
  CHAINFS_TRY(CarryOut(client, orders));
  return nlohmann::ordered_json::object();
}

}  // namespace chainfs::qmp
