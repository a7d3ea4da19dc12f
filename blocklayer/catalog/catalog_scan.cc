// SPDX-License-Identifier: Apache-2.0
//
// Scanning: from what lies in the sources to disks. The order matters: first every header is looked
// at, so that it is known who is built on whom; then disks that must not be written any more are
// frozen; then new chains are opened, each layer in its role; nothing is shown before that.
//
// A record that another daemon changes meanwhile (it ran a snapshot and let go of its locks) is
// noticed by reading the records again after the images are locked.
#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "blocklayer/catalog/catalog_impl.h"
#include "blocklayer/catalog/name_rules.h"

namespace chainfs {
namespace {

constexpr int kMaxScanAttempts = 3;

}  // namespace

Status Catalog::Impl::ScanLocked(ScanKind kind) {
  if (kind == ScanKind::kFull) LookForHidden();
  for (int attempt = 1;; ++attempt) {
    CHAINFS_ASSIGN(Inventory inventory, sources_.Collect());
    const std::string texts = inventory.record_texts;
    const std::vector<InterruptedSnapshot> interrupted = inventory.interrupted;
    const uint64_t number = ++scans_;
    const bool opened = Reconcile(std::move(inventory), kind);
    if (closing_) break;
    if (opened && attempt < kMaxScanAttempts) {
      CHAINFS_ASSIGN(const std::string texts_now, sources_.RecordTexts());
      if (texts_now != texts) continue;
    }
    // What was let in meanwhile may have changed the records, and has looked after them itself.
    if (number == scans_) FinishInterrupted(interrupted);
    break;
  }
  ForgetRepairs();
  RememberNames();
  ForgetTheGone();
  PublishLists();
  return {};
}

bool Catalog::Impl::StillTheSame(const Entry& entry, const Candidate& candidate,
                                 const Result<FileStat>& stat) {
  if (entry.disk == nullptr || candidate.error) return false;
  if (entry.candidate.format != candidate.format) return false;
  if (candidate.fixed_name && *candidate.fixed_name != entry.name) return false;
  // What is open shows a file as it was, if somebody else changes it.
  const auto changed = [](const LayerPtr& layer) { return layer->image->file().ChangedByOthers(); };
  if (std::ranges::any_of(entry.disk->chain()->AllLayers(), changed)) return false;
  // A file that cannot be looked at for the moment is still open here.
  return stat ? stat->id == entry.id() : stat.error().kind != ErrorKind::kNotFound;
}

// The entry that the candidate is already, taken from `old`; or a new one, not opened yet.
Catalog::Impl::Entry Catalog::Impl::MatchCandidate(Candidate candidate, ChainOpener& opener,
                                                   Entries& old) {
  const auto before = old.find(candidate.path);
  std::optional<ImageFormat> wanted;
  if (before == old.end()) wanted = candidate.format;
  const Result<FileStat> stat =
      candidate.error ? std::unexpected(*candidate.error) : opener.Look(candidate.place, wanted);
  if (before != old.end() && StillTheSame(before->second, candidate, stat)) {
    Entry same = std::move(before->second);
    old.erase(before);
    same.candidate = std::move(candidate);
    bool untold = false;
    std::vector<FileId> below =
        opener.Replaced(same.disk->chain()->AllLayers(), same.candidate.extra_roots, untold);
    if (untold) AddMissing(below, same.also_below);
    same.also_below = std::move(below);
    return same;
  }
  Entry entry;
  if (stat) {
    entry.walked = opener.Walk(candidate.place, candidate.format, candidate.extra_roots);
    entry.stat = *stat;
  } else {
    entry.error = stat.error();
    if (entry.error->kind == ErrorKind::kNotFound && !candidate.missing_hint.empty()) {
      entry.error->message = EscapeText(candidate.missing_hint);
    }
  }
  // A broken one that has not changed keeps its error and need not be opened again.
  if (stat && before != old.end() && before->second.failed_to_open) {
    entry.failed_to_open = true;
    entry.opened_as = std::move(before->second.opened_as);
    entry.error = std::move(before->second.error);
  }
  if (before != old.end()) entry.opening = before->second.opening;
  // What its header says cannot be told just now: it is as it was.
  const bool untold = entry.walked.untold || (!stat && stat.error().kind != ErrorKind::kNotFound);
  if (untold && before != old.end()) {
    AddMissing(entry.also_below, before->second.walked.Below());
    AddMissing(entry.also_below, before->second.also_below);
    if (before->second.disk != nullptr) {
      for (const LayerPtr& layer : before->second.disk->chain()->AllLayers()) {
        if (layer->id != before->second.id()) entry.also_below.push_back(layer->id);
      }
    }
  }
  // A record's names, too, count by the files that they lead to.
  for (const std::string& kept : candidate.keeps) {
    const Result<FileId> id = roots_.Follow(*sources_.directory(candidate.source), kept);
    if (id) entry.also_below.push_back(*id);
  }
  entry.candidate = std::move(candidate);
  return entry;
}

Catalog::Impl::Entries Catalog::Impl::MatchCandidates(Inventory inventory, ChainOpener& opener,
                                                      Entries& old) {
  Entries now;
  std::map<FileId, std::pair<std::string, bool>> tops;  // path, and whether the user named it
  for (Candidate& candidate : inventory.candidates) {
    Entry entry = MatchCandidate(std::move(candidate), opener, old);
    const std::string path = entry.candidate.path;
    if (entry.stat) {
      const auto [first, is_new] =
          tops.try_emplace(entry.id(), path, entry.candidate.named_by_user);
      if (!is_new) {
        Retire(entry);
        // The user's own words about a file go before what the directory says of it.
        if (first->second.second) continue;
        // What was walked stays: from another directory its names may lead elsewhere.
        entry.failed_to_open = false;
        entry.error = Error{
            .kind = ErrorKind::kExists,
            .message = EscapeText(fmt::format("{}: the same file as {}, which is shown already",
                                              path, first->second.first))};
      }
    }
    now.emplace(path, std::move(entry));
  }
  return now;
}

std::vector<std::pair<Catalog::Impl::Entry*, std::string>> Catalog::Impl::NamesOf(Entries& entries,
                                                                                  NamesFor when) {
  std::vector<Entry*> order;
  for (int rank = 0; rank < 4; ++rank) {
    for (auto& [path, entry] : entries) {
      const bool fixed = entry.candidate.fixed_name.has_value();
      const int its_rank = entry.disk != nullptr && when == NamesFor::kThisMount ? 0
                           : fixed && entry.candidate.named_by_user              ? 1
                           : fixed                                               ? 2
                                                                                 : 3;
      if (its_rank == rank) order.push_back(&entry);
    }
  }
  std::vector<NameRequest> requests;
  for (const Entry* entry : order) {
    NameRequest request{.file_name = entry->candidate.file_name,
                        .fixed = entry->candidate.fixed_name};
    if (entry->disk != nullptr && when == NamesFor::kThisMount) request.fixed = entry->name;
    requests.push_back(std::move(request));
  }
  const std::vector<std::string> names = AssignNames(requests);
  std::vector<std::pair<Entry*, std::string>> named;
  named.reserve(order.size());
  for (size_t i = 0; i < order.size(); ++i) named.emplace_back(order[i], names[i]);
  return named;
}

void Catalog::Impl::NameEntries(Entries& entries) {
  for (auto& [entry, name] : NamesOf(entries, NamesFor::kThisMount)) entry->name = std::move(name);
}

void Catalog::Impl::RememberNames() {
  std::map<size_t, ShownNames::Images> shown;
  for (const auto& [path, entry] : entries_) {
    const Candidate& candidate = entry.candidate;
    if (!entry.stat || !candidate.record.empty() || !sources_.is_directory(candidate.source)) {
      continue;
    }
    if (entry.name == StemOf(candidate.file_name)) {
      shown[candidate.source].emplace(candidate.file_name, entry.id().inode);
    }
  }
  for (const auto& [source, images] : shown) sources_.KeepShown(source, images);
  if (options_.read_only) return;
  for (const auto& [entry, name] : NamesOf(entries_, NamesFor::kNextMount)) {
    const Candidate& candidate = entry->candidate;
    // Only what a newcomer would take the name from: others have theirs by the rules.
    const bool at_risk = entry->disk != nullptr && !candidate.fixed_name && name != entry->name &&
                         entry->name == StemOf(candidate.file_name);
    if (!at_risk || std::exchange(entry->remembered, true)) continue;
    // A source that cannot be written does without.
    (void)sources_.RememberName(candidate.source, entry->name, candidate.file_name);
  }
}

void Catalog::Impl::Retire(Entry& entry) {
  if (entry.disk == nullptr) return;
  // Whoever has it open keeps it; nobody else may start to write.
  (void)entry.disk->StopWriting();
  entry.disk->access().SetReason("its image was renamed, removed or replaced");
  ghosts_.push_back(entry.disk);
  Queue([disk = std::move(entry.disk)](CatalogObserver& observer) { observer.DiskRemoved(disk); });
  entry.disk = nullptr;
}

Status Catalog::Impl::CheckOpenable(const Entry& entry, const LayerUsers& written) {
  CHAINFS_TRY(CheckChainName(entry.name));
  for (const LayerFile& file : entry.walked.files) {
    const auto writer = written.find(file.stat.id);
    if (writer == written.end()) continue;
    return Fail(ErrorKind::kBusy, EscapeText(fmt::format(
                                      "{}: {} is open for writing through the disk {}; close that "
                                      "first",
                                      entry.candidate.path, file.place.path, writer->second.name)));
  }
  return {};
}

void Catalog::Impl::OpenEntry(Entry& entry, ChainOpener& opener, const LayerUsers& backed,
                              const LayerUsers& written) {
  if (entry.error && !entry.failed_to_open) {
    LookFailed(entry);
    return;
  }
  const std::vector<LayerFile>& files = entry.walked.files;
  const bool was_busy = entry.error && entry.error->kind == ErrorKind::kBusy;
  const bool was_passing = entry.error && IsPassing(*entry.error);
  if (!IsWorthOpening(entry)) return;
  entry.failed_to_open = false;
  entry.being_checked.reset();
  entry.held_by.reset();
  entry.error = entry.walked.error;
  if (entry.error) {
    LookFailed(entry);
    return;
  }
  if (Status openable = CheckOpenable(entry, written); !openable) {
    entry.error = std::move(openable).error();
    return;
  }
  const Mark* const mark = MarkOf(entry);
  const auto role_of = [&](const FileId& id) {
    const bool kept = id == entry.id() && mark != nullptr;
    return options_.read_only || kept || backed.contains(id) ? LayerRole::kBacking
                                                             : LayerRole::kActive;
  };
  Result<Layers> layers = was_busy      ? opener.OpenIfUnlocked(entry.walked, role_of)
                          : was_passing ? opener.OpenGently(entry.walked, role_of)
                                        : opener.Open(entry.walked, role_of);
  const Status made = layers ? MakeDisk(entry, *std::move(layers), backed)
                             : std::unexpected(std::move(layers).error());
  if (made) {
    entry.opening.Reset();
    return;
  }
  entry.error = made.error();
  for (const LayerFile& file : files) {
    const bool checked =
        file.peek.dirty && repairs_.Look(file.stat).state == BackgroundRepairs::State::kUnderWay;
    if (checked) entry.being_checked = file.stat.id;
  }
  // It is looked at again at each scan, which costs nothing until it is done.
  if (entry.being_checked) return;
  if (entry.error->kind == ErrorKind::kBusy) {
    entry.held_by = ImageHolder::kNobody;
    for (const LayerFile& file : files) {
      if (pool_.Find(file.stat.id) != nullptr) continue;
      entry.held_by = std::max(*entry.held_by, LayerPool::HolderOf(file));
    }
  }
  entry.failed_to_open = true;
  if (IsPassing(*entry.error)) {
    entry.opening.Failed();
  } else {
    entry.opening.Reset();
  }
  entry.opened_as.clear();
  for (const LayerFile& file : files) entry.opened_as.push_back(file.stat);
}

Status Catalog::Impl::MakeDisk(Entry& entry, Layers layers, const LayerUsers& backed) {
  const LayerPtr active = layers.front();
  Image& image = *active->image;
  CHAINFS_ASSIGN(std::unique_ptr<Disk> opened,
                 Disk::Open(entry.name, std::move(layers), *context_));
  const auto backed_by = backed.find(entry.id());
  const Mark* const mark = MarkOf(entry);
  entry.frozen =
      options_.read_only || backed_by != backed.end() || mark != nullptr || !image.writable();
  if (backed_by != backed.end()) {
    entry.frozen_because = fmt::format("read-only: {}", BuiltOn(backed_by->second));
  } else if (mark != nullptr && !options_.read_only) {
    entry.frozen_because = MergedText(*mark);
  } else if (!image.writable() && !options_.read_only) {
    entry.frozen_because = fmt::format("read-only: {}", active->ReadOnlyReason());
  }
  if (image.format() == ImageFormat::kRaw && BeginsLikeQcow2(image.file())) {
    entry.hint = fmt::format(
        "{} is shown raw; it begins like qcow2; if it is meant to be, name its format with "
        "{}={},format=qcow2",
        active->name, entry.name, active->path);
  }
  if (!entry.frozen && !opened->AllowWriting()) {
    // Fewer locks cannot conflict.
    (void)pool_.SetRole(active, LayerRole::kBacking);
    entry.frozen = true;
    entry.frozen_because = kStillBacked;
  }
  entry.disk = DiskPtr(opened.release(), [context = context_](Disk* gone) { delete gone; });
  entry.disk->SetErrorObserver(
      [this](const Disk& disk, std::string_view operation, const Error& error) {
        CatalogObserver* observer = observer_.load();
        if (observer != nullptr) observer->DiskError(disk, operation, error);
      });
  entry.walked = {};
  entry.opened_as.clear();
  Queue([disk = entry.disk](CatalogObserver& observer) { observer.DiskAdded(disk); });
  return {};
}

ChainOpener Catalog::Impl::NewOpener() {
  return {
      roots_,
      pool_,
      {.assume_backing_format = options_.assume_backing_format, .max_depth = options_.max_depth}};
}

bool Catalog::Impl::PauseAndGoOn() {
  (void)mu_.LetOthersIn();
  return !closing_;
}

bool Catalog::Impl::IsQuicklyOpened(const Entry& entry) const {
  return entry.walked.error ||
         std::ranges::all_of(entry.walked.files, [&](const LayerFile& file) REQUIRES(mu_) {
           return pool_.Find(file.stat.id) != nullptr;
         });
}

bool Catalog::Impl::OpenEntries(ChainOpener& opener, ScanKind kind) {
  std::vector<std::string> paths;
  for (const auto& [path, entry] : entries_) {
    if (entry.disk == nullptr) paths.push_back(path);
  }
  LayerUsers backed = BackedLayers();
  LayerUsers written = WrittenLayers();
  bool opened = false;
  for (const std::string& path : paths) {
    if (closing_) break;
    if (kind == ScanKind::kFull && mu_.LetOthersIn()) {
      backed = BackedLayers();
      written = WrittenLayers();
    }
    const auto found = entries_.find(path);
    if (found == entries_.end() || found->second.disk != nullptr) continue;
    if (kind == ScanKind::kQuick && !IsQuicklyOpened(found->second)) continue;
    OpenEntry(found->second, opener, backed, written);
    opened = opened || found->second.disk != nullptr;
  }
  return opened;
}

void Catalog::Impl::ForgetRepairs() {
  std::set<FileId> dirty;
  for (const auto& [path, entry] : entries_) {
    if (entry.stat) dirty.insert(entry.stat->id);
    for (const LayerFile& file : entry.walked.files) dirty.insert(file.stat.id);
    if (entry.disk == nullptr) continue;
    for (const LayerPtr& layer : entry.disk->chain()->AllLayers()) dirty.insert(layer->id);
  }
  repairs_.KeepOnly(dirty);
}

bool Catalog::Impl::Reconcile(Inventory inventory, ScanKind kind) {
  ChainOpener opener = NewOpener();
  condemned_ = std::move(inventory.condemned);
  Entries old = std::move(entries_);
  entries_ = MatchCandidates(std::move(inventory), opener, old);
  for (auto& [path, entry] : old) Retire(entry);
  NameEntries(entries_);
  UpdateHidden();
  LoadMarks();

  UpdateRoles(BackedLayers());
  return OpenEntries(opener, kind);
}

std::string Catalog::Impl::LostLayer(const Disk& disk, std::map<const Layer*, std::string>& known) {
  for (const LayerPtr& layer : disk.chain()->AllLayers()) {
    const auto [fate, is_new] = known.try_emplace(layer.get());
    if (is_new) fate->second = FateOf(*layer);
    if (!fate->second.empty()) return fmt::format("{} {}", layer->path, fate->second);
  }
  return {};
}

std::string Catalog::Impl::FateOf(const Layer& layer) {
  const auto found = entries_.find(layer.path);
  const Result<FileId> leads = layer.directory->WhereLeads(layer.name);
  if ((found != entries_.end() && found->second.stat && found->second.id() != layer.id) ||
      (leads && *leads != layer.id)) {
    return "was replaced; the disk goes on with the file as it was opened";
  }
  if (leads || leads.error().kind != ErrorKind::kNotFound) return {};
  const Result<FileStat> stat = layer.image->file().Stat();
  if (stat && stat->links == 0) {
    return "was removed; the disk goes on with it while this mount lasts: stream it away or copy "
           "the disk before you unmount";
  }
  return "was moved or renamed; the disk goes on with it while this mount lasts: put it back "
         "before you unmount";
}

void Catalog::Impl::TellReason(const Entry& entry) const {
  const std::string because = EscapeText(entry.frozen_because);
  if (because.starts_with(kReadOnly)) {
    entry.disk->access().SetReason(because.substr(kReadOnly.size()));
  } else if (options_.read_only) {
    entry.disk->access().SetReason(std::string(kMountReadOnly));
  }
}

void Catalog::Impl::PublishLists() {
  std::map<std::string, DiskPtr, std::less<>> disks;
  std::vector<BrokenImage> broken;
  std::vector<ImageNote> notes;
  std::vector<std::pair<std::string, FileId>> broken_uses;
  std::map<const Layer*, std::string> fates;
  for (const auto& [path, entry] : entries_) {
    if (entry.disk != nullptr) {
      disks.emplace(entry.name, entry.disk);
      records_.SetSource(entry.disk, entry.candidate.source);
      AddNotes(entry, fates, notes);
      TellReason(entry);
      continue;
    }
    BrokenImage image{.name = EscapeText(entry.name),
                      .path = EscapeText(path),
                      .error = entry.error.value_or(Error{}),
                      .being_checked = entry.being_checked,
                      .held_by = entry.held_by,
                      .named_by_user = entry.candidate.named_by_user,
                      .tried_again = IsTriedAgain(entry)};
    NameTheLimit(image.error);
    image.error.message = EscapeText(image.error.message);
    broken_uses.emplace_back(image.name, entry.id());
    for (const FileId& id : entry.walked.Below()) broken_uses.emplace_back(image.name, id);
    // Without an error it was only not tried yet.
    if (entry.error) broken.push_back(std::move(image));
  }
  std::ranges::sort(broken, {}, &BrokenImage::name);

  for (const auto& [id, user] : hidden_users_) broken_uses.emplace_back(user.name, id);

  const MutexLock lock(list_mu_);
  QueueWarnings(notes);
  for (const BrokenImage& image : broken) {
    const bool known = std::ranges::any_of(broken_, [&](const BrokenImage& other) {
      return other.path == image.path && other.error.kind == image.error.kind &&
             other.error.message == image.error.message;
    });
    if (!known) Queue([image](CatalogObserver& observer) { observer.ImageBroken(image); });
  }
  disks_ = std::move(disks);
  broken_ = std::move(broken);
  std::erase_if(asked_for_,
                [&](const std::string& name) REQUIRES(list_mu_) { return !IsTriedAgain(name); });
  notes_ = std::move(notes);
  broken_uses_ = std::move(broken_uses);
  PublishNextRetry();
}

}  // namespace chainfs
