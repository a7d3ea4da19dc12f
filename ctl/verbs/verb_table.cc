// SPDX-License-Identifier: Apache-2.0
#include "ctl/verbs/verb_table.h"

#include <algorithm>
#include <array>

namespace chainfs::verbs {
namespace {

using enum KeyType;

constexpr std::array<std::string_view, 4> kOnError = {"report", "ignore", "stop", "enospc"};
constexpr std::array<std::string_view, 4> kCompat = {"1.1", "v3", "0.10", "v2"};
constexpr std::array<std::string_view, 2> kCompression = {"zlib", "zstd"};
constexpr std::array<std::string_view, 3> kCompressWords = {"none", "zlib", "zstd"};
constexpr std::array<std::string_view, 3> kMergedLayers = {"no", "empty", "yes"};
constexpr std::array<std::string_view, 2> kCommitThen = {"pivot", "hold"};
constexpr std::array<std::string_view, 3> kPriorities = {"low", "normal", "high"};
constexpr std::array<std::string_view, 3> kThen = {"pivot", "keep", "hold"};
constexpr std::array<std::string_view, 3> kMirrorSync = {"full", "top", "none"};
constexpr std::array<std::string_view, 2> kMirrorFormat = {"qcow2", "raw"};
constexpr std::array<std::string_view, 2> kCopyMode = {"background", "write-blocking"};

constexpr std::array<std::string_view, 2> kTargetFormats = {"qcow2", "raw"};
constexpr std::array<std::string_view, 3> kBackupSync = {"full", "top", "since"};
constexpr std::array<std::string_view, 2> kBackupThen = {"drop", "hold"};

constexpr Key kGeneration = {
    "generation", kNumber, "Refuse if the chain has another generation than this", "", {}, false};
constexpr Key kDryRun = {"dry-run", kSwitch, "Only check, and say what would be done",
                         "no",      {},      false};
constexpr Key kNewJob = {"id", kNewId, "Name of the job", "a new name", {}, false};
constexpr Key kUnfinished = {"id", kJobId, "Job", "the newest that has not finished", {}, false};
constexpr Key kFinished = {"id", kJobId, "Job", "the newest that has finished", {}, false};
constexpr Key kClusterSize = {
    "cluster_size", kSize, "Bytes per cluster, a power of two from 512 to 2M", "64k", {}, false};
constexpr Key kLazyRefcounts = {"lazy_refcounts",
                                kSwitch,
                                "Write reference counts late; after a crash they are rebuilt",
                                "no",
                                {},
                                false};

constexpr Key kExtendedL2 = {"extended_l2",
                             kSwitch,
                             "Allocate 32nd parts of clusters: a first write of one copies nothing",
                             "as what it stands on",
                             {},
                             false};
constexpr Key kCompressionType = {
    "compression_type", kWord, "How compressed clusters are to be written", "zlib",
    kCompression,       false};
constexpr Key kCompress = {
    "compress", kWord,          "How to compress what is copied; as the image that is written says",
    "none",     kCompressWords, false};
constexpr Key kSpeed = {"speed",    kRate, "Limit in bytes per second (k, M, G: powers of 1024)",
                        "no limit", {},    false};
constexpr Key kErrorPolicy = {
    "on-error",
    kWord,
    "What an error does: end the job, fail at the end, pause, or pause if space is short",
    "report",
    kOnError,
    false};

constexpr Key kPriority = {
    "priority", kWord,       "Its share beside other jobs; a low one stands back for users",
    "normal",   kPriorities, false};

constexpr std::array kStreamKeys = {
    Key{"base", kLayer, "Layer that stays below", "none, merge all", {}, false},
    Key{"top", kLayer, "Layer to merge into", "the active layer", {}, false},
    kSpeed,
    kCompress,
    kErrorPolicy,
    Key{"delete", kSwitch, "Then delete the layers that nobody needs any more", "no", {}, false},
    Key{"trace", kFile, "Copy first what \"trace\" has recorded in this file", "", {}, false},
    kPriority,
    kNewJob,
    kGeneration,
    kDryRun,
};

constexpr std::array kCommitKeys = {
    Key{"base", kLayer, "Layer to merge into", "", {}, true},
    Key{"top", kLayer, "Uppermost layer that is merged", "the active layer", {}, false},
    kSpeed,
    kCompress,
    kErrorPolicy,
    Key{"delete", kWord, "What becomes of merged layers that nobody needs: kept, emptied, deleted",
        "no", kMergedLayers, false},
    Key{"reclaim",
        kSwitch,
        "Give back what has been merged while the job goes on",
        "no",
        {},
        false},
    Key{"then", kWord, "Of the active layer: go on in base by itself, or only after \"complete\"",
        "pivot", kCommitThen, false},
    kPriority,
    kNewJob,
    kGeneration,
    kDryRun,
};

constexpr std::array kBackupKeys = {
    Key{"target", kFile, "Image to make; may be left out with then=hold", "", {}, false},
    Key{"format", kWord, "Format of the target", "that of its extension, or qcow2", kTargetFormats,
        false},
    Key{"sync", kWord, "What is copied: everything, what the active layer has, what changed since",
        "full, with since= since", kBackupSync, false},
    Key{"since", kLayer, "Layer since whose freezing changes are copied", "", {}, false},
    Key{"then", kWord, "Drop the point in time when the target is complete, or hold it", "drop",
        kBackupThen, false},
    kClusterSize,
    kExtendedL2,
    Key{"overlay",
        kFile,
        "Temporary overlay that guests write meanwhile",
        "NAME.ID.qcow2 beside the active layer",
        {},
        false},
    kCompress,
    kSpeed,
    kErrorPolicy,
    kPriority,
    kNewJob,
    kGeneration,
    kDryRun,
};

constexpr std::array kMirrorKeys = {
    Key{"target", kFile, "Image to copy to", "", {}, true},
    Key{"format", kWord, "Of the target", "by its extension", kMirrorFormat, false},
    Key{"sync", kWord, "Copy all, what the active layer has, or only what is written from now on",
        "full", kMirrorSync, false},
    Key{"copy-mode", kWord, "Whether writes of the guest wait for the target", "background",
        kCopyMode, false},
    Key{"then", kWord,
        "Once it is copied: go on with the target, leave it as it is, or hold it ready for "
        "\"complete\"",
        "hold", kThen, false},
    Key{"existing", kSwitch, "Write over an image that is there already", "no", {}, false},
    kClusterSize,
    kLazyRefcounts,
    kExtendedL2,
    Key{"compress", kWord,
        "How to compress what is copied at first, in a qcow2 target that is made", "none",
        kCompressWords, false},
    kSpeed,
    kErrorPolicy,
    kPriority,
    kNewJob,
    kGeneration,
    kDryRun,
};

constexpr std::array kSnapshotKeys = {
    Key{"target", kFile, "New active layer", "NAME.N.qcow2 beside the old one", {}, false},
    Key{"existing", kSwitch, "Take the place of an image that holds nothing", "no", {}, false},
    kClusterSize,
    kLazyRefcounts,
    kExtendedL2,
    kCompressionType,
    kNewJob,
    Key{"disks", kDisk, "On the mount point: the disks that are meant, as a;b", "", {}, false},
    kGeneration,
    kDryRun,
};

constexpr std::array kTransactionKeys = {
    Key{"actions", kText, "Commands, as DISK/VERB/ARGUMENTS;DISK/VERB/ARGUMENTS", "", {}, true},
    kDryRun,
};

constexpr std::array kRevertKeys = {
    Key{"to", kLayer, "Layer that is active afterwards", "", {}, true},
    Key{"yes", kSwitch, "Agree that the newer layers are removed for good", "no", {}, false},
    kGeneration,
    kDryRun,
};

constexpr std::array kRebaseKeys = {
    Key{"base", kFile, "Image to stand on, as a header of the layer would name it", "", {}, true},
    Key{"format",
        kText,
        "Format of the base, such as qcow2 or raw",
        "what its extension says",
        {},
        false},
    Key{"top", kLayer, "Layer that gets another base", "the active layer", {}, false},
    Key{"unsafe",
        kSwitch,
        "Compare nothing: the disk shows what the new base holds",
        "no",
        {},
        false},
    kSpeed,
    kErrorPolicy,
    kPriority,
    kNewJob,
    kGeneration,
    kDryRun,
};

constexpr std::array kResizeKeys = {
    Key{"size", kSize, "Bytes of the disk afterwards, a multiple of 512", "", {}, true},
    Key{"shrink",
        kSwitch,
        "Cut off what lies beyond, also where that holds data",
        "no: only zeros",
        {},
        false},
    kGeneration,
    kDryRun,
};

constexpr std::array kBitmapKeys = {
    Key{"add", kText, "Name of a bitmap to make", "", {}, false},
    Key{"granularity",
        kSize,
        "Bytes that one bit of it stands for, a power of two from 512 to 2G",
        "64k",
        {},
        false},
    Key{"disabled", kSwitch, "It records nothing until it is enabled", "no", {}, false},
    Key{"remove", kText, "Name of a bitmap to remove", "", {}, false},
    Key{"clear", kText, "Name of a bitmap in which nothing is to be dirty", "", {}, false},
    Key{"enable", kText, "Name of a bitmap that is to record changes", "", {}, false},
    Key{"disable", kText, "Name of a bitmap that is to stay as it is", "", {}, false},
    kGeneration,
    kDryRun,
};

constexpr std::array kUnfinishedJobKeys = {kUnfinished, kGeneration, kDryRun};
constexpr std::array kFinishedJobKeys = {kFinished, kGeneration, kDryRun};
constexpr std::array kSpeedKeys = {
    kUnfinished,
    Key{"limit", kRate, "Bytes per second (k, M, G: powers of 1024); 0: no limit", "", {}, true},
    kGeneration,
    kDryRun,
};
constexpr std::array kCompleteKeys = {
    kUnfinished,
    Key{"then", kWord, "Of a copy: go on with the target, keep it, or hold it ready",
        "what its job was started with", kThen, false},
    kGeneration,
    kDryRun,
};
constexpr std::array kChangeKeys = {
    kUnfinished,
    Key{"copy-mode", kWord, "Of a copy: whether writes of the guest wait for the target",
        "as it is", kCopyMode, false},
    Key{"priority", kWord, "Its share beside other jobs; a low one stands back for users",
        "as it is", kPriorities, false},
    kGeneration,
    kDryRun,
};
constexpr std::array kPlainKeys = {kGeneration, kDryRun};
constexpr std::array kMaxLayersKeys = {
    Key{"layers",
        kNumber,
        "Layers that the chain is kept at; 0: no limit",
        "that of the mount",
        {},
        false},
    kGeneration,
    kDryRun,
};
constexpr std::array kTraceKeys = {
    Key{"file", kFile, "New file for what is read", "", {}, false},
    Key{"stop", kSwitch, "Write the file and stop recording", "no", {}, false},
    kGeneration,
    kDryRun,
};
constexpr std::array kMountKeys = {kDryRun};

constexpr std::array<std::string_view, 4> kPreallocation = {"off", "metadata", "falloc", "full"};

constexpr std::array kFormatKeys = {
    kClusterSize,
    Key{"compat", kWord, "Version of the format: 3 (1.1) or 2 (0.10)", "1.1", kCompat, false},
    kLazyRefcounts,
    Key{"refcount_bits", kNumber, "Width of a reference count: 1, 2, 4 ... 64", "16", {}, false},
    kExtendedL2,
    Key{"preallocation", kWord,
        "What has its place at once: nothing, the mapping, also space, also zeros in it", "off",
        kPreallocation, false},
    kCompressionType,
};

constexpr std::array kVerbs = {
    Verb{"stream", "Merge the layers between base and top into top", "base=base.qcow2,speed=50M",
         Scope::kDisk, DryRun::kEstimates, Caller::kController, false, kStreamKeys},
    Verb{"commit", "Merge the layers from top down to base into base",
         "top=mid.qcow2,base=base.qcow2", Scope::kDisk, DryRun::kEstimates, Caller::kController,
         false, kCommitKeys},
    Verb{"mirror", "Copy the disk while it is in use, and go on with the copy if wanted",
         "target=/fast/vm1.qcow2,then=pivot", Scope::kDisk, DryRun::kEstimates, Caller::kController,
         false, kMirrorKeys},
    Verb{"backup", "Copy the disk as it is now, while guests go on writing",
         "target=/backup/vm1.qcow2", Scope::kDisk, DryRun::kEstimates, Caller::kController, false,
         kBackupKeys},
    Verb{"snapshot", "Freeze the active layer and go on in a new one", "target=/fast/vm1.qcow2",
         Scope::kBoth, DryRun::kEstimates, Caller::kController, false, kSnapshotKeys},
    Verb{"transaction", "Carry out several commands, or none of them",
         "actions=vm1/snapshot;vm2/snapshot", Scope::kMount, DryRun::kEstimates,
         Caller::kController, false, kTransactionKeys},
    Verb{"revert", "Undo snapshots: go back to an older layer, drop the newer ones",
         "to=vm1.qcow2,yes=yes", Scope::kDisk, DryRun::kEstimates, Caller::kController, false,
         kRevertKeys},
    Verb{"rebase", "Have a layer stand on another image that shows the same", "base=copy.qcow2",
         Scope::kDisk, DryRun::kEstimates, Caller::kController, false, kRebaseKeys},
    Verb{"resize", "Make a disk larger or smaller", "size=40G", Scope::kDisk, DryRun::kEstimates,
         Caller::kController, false, kResizeKeys},
    Verb{"bitmap", "Make, remove or change a bitmap that records what is written",
         "add=since-monday", Scope::kDisk, DryRun::kEstimates, Caller::kController, false,
         kBitmapKeys},
    Verb{"thaw", "Let a disk be written that a stream has left out", "", Scope::kDisk,
         DryRun::kChecks, Caller::kController, false, kPlainKeys},
    Verb{"max-layers", "Keep a chain short: merge its oldest layers in the background", "layers=8",
         Scope::kDisk, DryRun::kChecks, Caller::kController, false, kMaxLayersKeys},
    Verb{"trace", "Record what users of a disk read, for a stream that copies that first",
         "file=/images/vm1.trace", Scope::kDisk, DryRun::kChecks, Caller::kController, false,
         kTraceKeys},
    Verb{"flush", "Write all cached data and metadata to the images", "", Scope::kBoth,
         DryRun::kChecks, Caller::kController, false, kPlainKeys},
    Verb{"cancel", "Stop a job; the chain stays as it was", "id=stream-1", Scope::kBoth,
         DryRun::kChecks, Caller::kController, true, kUnfinishedJobKeys},
    Verb{"pause", "Pause a job", "", Scope::kBoth, DryRun::kChecks, Caller::kController, true,
         kUnfinishedJobKeys},
    Verb{"resume", "Resume a paused job", "", Scope::kBoth, DryRun::kChecks, Caller::kController,
         true, kUnfinishedJobKeys},
    Verb{"speed", "Limit the speed of a job", "limit=50M", Scope::kBoth, DryRun::kChecks,
         Caller::kController, true, kSpeedKeys},
    Verb{"complete", "End a job that is ready", "id=mirror-1,then=pivot", Scope::kBoth,
         DryRun::kChecks, Caller::kController, true, kCompleteKeys},
    Verb{"change", "Change how a job works while it runs", "copy-mode=write-blocking", Scope::kBoth,
         DryRun::kChecks, Caller::kController, true, kChangeKeys},
    Verb{"dismiss", "Forget a finished job", "id=stream-1", Scope::kBoth, DryRun::kChecks,
         Caller::kController, true, kFinishedJobKeys},
    Verb{"release-events", "Send the readers of the events away, so that nothing holds the mount",
         "", Scope::kMount, DryRun::kChecks, Caller::kController, false, kMountKeys},
};

}  // namespace

std::span<const Verb> Verbs() { return kVerbs; }

const Verb* FindVerb(std::span<const Verb> verbs, std::string_view name) {
  const auto found = std::ranges::find(verbs, name, &Verb::name);
  return found == verbs.end() ? nullptr : &*found;
}

std::string VerbNames(std::span<const Verb> verbs) {
  std::string names;
  for (const Verb& verb : verbs) {
    if (!names.empty()) names += ", ";
    names += verb.name;
  }
  return names;
}

std::span<const Key> FormatKeys() { return kFormatKeys; }

}  // namespace chainfs::verbs
