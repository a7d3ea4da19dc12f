// SPDX-License-Identifier: Apache-2.0
#include "jobs/mirror/mirror_plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <utility>

#include "blocklayer/catalog/name_rules.h"
#include "blocklayer/catalog/roots.h"
#include "blocklayer/catalog/snapshot_holders.h"
#include "blocklayer/formats/registry/format_registry.h"
#include "jobs/copy/compress_key.h"
#include "jobs/mirror/mirror_log.h"

namespace chainfs::jobs {
namespace {

constexpr std::array<std::string_view, 3> kSyncs = {"full", "top", "none"};
constexpr std::array<std::string_view, 3> kEnds = {"hold", "pivot", "keep"};
constexpr std::array<std::string_view, 2> kModes = {"background", "write-blocking"};

std::unexpected<Error> RefuseMirror(const std::string& message) {
  return Fail(ErrorKind::kInvalidArgument, EscapeText(message));
}

template <size_t n>
Result<size_t> WordOf(const verbs::Arguments& arguments, std::string_view key,
                      const std::array<std::string_view, n>& words, size_t otherwise) {
  const std::optional<std::string> text = arguments.Text(key);
  if (!text) return otherwise;
  const auto found = std::ranges::find(words, *text);
  if (found != words.end()) return static_cast<size_t>(found - words.begin());
  return RefuseMirror(fmt::format("{}={} is none of {}", key, *text, fmt::join(words, ", ")));
}

// The word, or what the target's name says; the two must agree, because a later daemon goes by the
// name.
Result<ImageFormat> TargetFormat(const verbs::Arguments& arguments, const std::string& target) {
  const std::optional<ImageFormat> by_name = FormatOfFileName(FileNameOf(target));
  const std::optional<std::string> word = arguments.Text("format");
  const std::optional<ImageFormat> given = word ? ParseImageFormat(*word) : by_name;
  if (word && !given) {
    return Fail(ErrorKind::kUnsupported,
                EscapeText(fmt::format("format={}: chainfs knows {}", *word,
                                       FormatRegistry::BuiltIn().Names())));
  }
  if (!given) {
    return RefuseMirror(fmt::format(
        "{}: the extension does not tell the format; add format=qcow2 or format=raw", target));
  }
  if (by_name && *by_name != *given) {
    return RefuseMirror(
        fmt::format("{}: would be taken for a {} image later; give a {} image "
                    "another extension",
                    target, by_name->name(), given->name()));
  }
  if (FormatRegistry::BuiltIn().Find(*given)->create == nullptr) {
    return RefuseMirror(fmt::format("{}: chainfs only reads {} images; take a qcow2 or a raw image",
                                    target, given->name()));
  }
  return *given;
}

Status ParseTargetOptions(const verbs::Arguments& arguments, MirrorPlan& plan) {
  for (const std::string_view key : {"cluster_size", "lazy_refcounts", "extended_l2", "compress"}) {
    if (!arguments.Has(key)) continue;
    if (plan.existing) {
      return RefuseMirror(fmt::format("{}= is for a target that is made; leave it out", key));
    }
    if (plan.format == ImageFormat::kRaw) {
      return RefuseMirror(
          fmt::format("{}: a raw image knows no {}; leave it out", plan.target, key));
    }
  }
  CHAINFS_ASSIGN(plan.lazy_refcounts, arguments.Switch("lazy_refcounts", false));
  CHAINFS_ASSIGN(plan.compression, CompressionWanted(arguments));
  CHAINFS_ASSIGN(plan.clusters, ClustersWanted(arguments));
  return {};
}

Result<MirrorPlan> ParseMirror(const JobCommand& command) {
  const verbs::Arguments& arguments = command.arguments;
  MirrorPlan plan;
  plan.disk = command.disk;
  plan.anywhere = command.privileged;
  plan.taken_up = !command.taken_up.empty();
  plan.target = arguments.Text("target").value_or("");
  if (plan.target.empty()) return RefuseMirror("target= must name the copy");
  if (!plan.target.starts_with('/')) {
    plan.target = JoinPath(command.disk->chain()->active->directory->path(), plan.target);
  }
  CHAINFS_ASSIGN(plan.format, TargetFormat(arguments, plan.target));
  CHAINFS_ASSIGN(const size_t sync, WordOf(arguments, "sync", kSyncs, 0));
  plan.sync = static_cast<MirrorSync>(sync);
  CHAINFS_ASSIGN(plan.end, MirrorEndOf(arguments, MirrorEnd::kHold));
  CHAINFS_ASSIGN(plan.mode, CopyModeOf(arguments, CopyMode::kBackground));
  CHAINFS_ASSIGN(plan.existing, arguments.Switch("existing", false));
  CHAINFS_TRY(ParseTargetOptions(arguments, plan));
  return plan;
}

// What the words mean for a chain like this one.
Status CheckAgainstDisk(const MirrorPlan& plan) {
  const ChainPtr chain = plan.disk->chain();
  for (const LayerPtr& layer : chain->AllLayers()) {
    if (layer->path != plan.target) continue;
    return RefuseMirror(fmt::format("{}: is a layer of {} itself; choose another target",
                                    plan.target, plan.disk->name()));
  }
  if (plan.sync != MirrorSync::kFull && plan.format == ImageFormat::kRaw) {
    return RefuseMirror(
        fmt::format("{}: with sync={} the target is built on layers of {}, and a "
                    "raw image has no backing file; use a qcow2 image or sync=full",
                    plan.target, MirrorSyncName(plan.sync), plan.disk->name()));
  }
  if (plan.sync == MirrorSync::kNone && plan.existing) {
    return RefuseMirror(
        fmt::format("{}: with sync=none the target must be a new one, because it is "
                    "built on what {} is just now",
                    plan.target, plan.disk->name()));
  }
  if (plan.sync == MirrorSync::kNone && plan.compression) {
    return RefuseMirror("compress=: with sync=none nothing is copied at first; leave it out");
  }
  if (plan.sync == MirrorSync::kNone && plan.end == MirrorEnd::kKeep) {
    return RefuseMirror(
        fmt::format("then=keep: with sync=none the target is built on {}, which "
                    "goes on changing; use then=pivot, or sync=full",
                    chain->active->path));
  }
  if (plan.end == MirrorEnd::kPivot && plan.disk->read_only()) {
    return Fail(ErrorKind::kReadOnly,
                EscapeText(fmt::format("then=pivot: {} is read-only: {}", plan.disk->name(),
                                       plan.disk->ReadOnlyReason())));
  }
  return {};
}

// What the chain will do without once the disk goes on with the target.
Layers LayersLeft(const MirrorPlan& plan, const Chain& chain) {
  Layers layers = chain.AllLayers();
  if (plan.backing) layers.erase(std::ranges::find(layers, plan.backing), layers.end());
  return layers;
}

}  // namespace

std::string_view MirrorSyncName(MirrorSync sync) { return kSyncs[std::to_underlying(sync)]; }
std::string_view MirrorEndName(MirrorEnd end) { return kEnds[std::to_underlying(end)]; }
std::string_view CopyModeName(CopyMode mode) { return kModes[std::to_underlying(mode)]; }

Result<MirrorEnd> MirrorEndOf(const verbs::Arguments& arguments, MirrorEnd otherwise) {
  CHAINFS_ASSIGN(const size_t end, WordOf(arguments, "then", kEnds, std::to_underlying(otherwise)));
  return static_cast<MirrorEnd>(end);
}

Result<CopyMode> CopyModeOf(const verbs::Arguments& arguments, CopyMode otherwise) {
  CHAINFS_ASSIGN(const size_t mode,
                 WordOf(arguments, "copy-mode", kModes, std::to_underlying(otherwise)));
  return static_cast<CopyMode>(mode);
}

Result<MirrorPlan> PlanMirror(Catalog& catalog, const JobCommand& command) {
  std::optional<IntentHeader> found;
  if (!command.taken_up.empty()) {
    // Before anything can fail, because guests may write the disk unseen until it is taken up.
    CHAINFS_ASSIGN(found, CheckOutLog(catalog.records(), *command.disk, command.taken_up));
  }
  CHAINFS_ASSIGN(MirrorPlan plan, ParseMirror(command));
  plan.found = found;
  const ChainPtr chain = plan.disk->chain();
  plan.done = plan.taken_up && chain->active->path == plan.target;
  if (plan.done) return plan;
  CHAINFS_TRY(CheckAgainstDisk(plan));
  if (!plan.taken_up) CHAINFS_TRY(catalog.moves().CheckWhole(*plan.disk));
  if (plan.sync == MirrorSync::kNone) plan.backing = chain->active;
  if (plan.sync == MirrorSync::kTop && chain->below) plan.backing = chain->below->layers().front();
  if (plan.end != MirrorEnd::kKeep) {
    CHAINFS_TRY(CheckHoldNoSnapshots(LayersLeft(plan, *chain), "moving the disk to its mirror"));
  }
  // What was made already is looked at when it is opened.
  if (plan.taken_up) return plan;
  CHAINFS_ASSIGN(
      const NewImagePlan image,
      catalog.new_images().Plan(plan.disk, {.name = plan.target,
                                            .format = plan.format,
                                            .backing = plan.existing ? nullptr : plan.backing,
                                            .anywhere = plan.anywhere,
                                            .may_exist = plan.existing}));
  plan.target = image.location.path;
  return plan;
}

// The disk may leave all of its layers, so nobody fills or drops one of them meanwhile; nor does a
// second job that moves the disk run beside this one.
LayerClaims ClaimsOf(const MirrorPlan& plan) {
  if (plan.done) return {};
  const ChainPtr chain = plan.disk->chain();
  LayerClaims claims;
  claims.fills = {chain->active};
  if (chain->below) claims.reads = claims.drops = chain->below->layers();
  return claims;
}

verbs::Arguments CommandOf(const MirrorPlan& plan) {
  verbs::Arguments command;
  command.Set("target", plan.target)
      .Set("format", plan.format.name())
      .Set("sync", MirrorSyncName(plan.sync))
      .Set("copy-mode", CopyModeName(plan.mode))
      .Set("then", MirrorEndName(plan.end))
      .Set("existing", plan.existing ? "yes" : "no");
  if (plan.existing || plan.format == ImageFormat::kRaw) return command;
  command.Set("cluster_size", std::to_string(uint64_t{1} << plan.clusters.bits))
      .Set("lazy_refcounts", plan.lazy_refcounts ? "yes" : "no");
  if (plan.clusters.subclusters) {
    command.Set("extended_l2", *plan.clusters.subclusters ? "yes" : "no");
  }
  if (plan.compression) command.Set("compress", CompressionName(*plan.compression));
  return command;
}

}  // namespace chainfs::jobs
