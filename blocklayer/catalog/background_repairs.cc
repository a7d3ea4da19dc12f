// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/catalog/background_repairs.h"

#include <utility>

namespace chainfs {
namespace {

bool SameFile(const FileStat& a, const FileStat& b) {
  return a.id == b.id && a.size == b.size && a.modified.tv_sec == b.modified.tv_sec &&
         a.modified.tv_nsec == b.modified.tv_nsec;
}

}  // namespace

BackgroundRepairs::BackgroundRepairs(std::function<void()> finished)
    : finished_(std::move(finished)) {}

BackgroundRepairs::~BackgroundRepairs() { Stop(); }

BackgroundRepairs::Verdict BackgroundRepairs::VerdictOf(const FileStat& stat) const {
  const MutexLock lock(mu_);
  if (items_.contains(stat.id)) return {.state = State::kUnderWay};
  const auto found = found_.find(stat.id);
  if (found != found_.end() && SameFile(found->second.stat, stat)) {
    return {.state = State::kEnded, .reason = found->second.reason};
  }
  return {.state = items_.size() < kMaxFiles ? State::kUnknown : State::kWaiting};
}

bool BackgroundRepairs::Start(std::unique_ptr<File> file, FormatRow::Repair repair) {
  const Result<FileStat> stat = file->Stat();
  if (!stat) return false;
  const MutexLock lock(mu_);
  if (stop_ || items_.size() >= kMaxFiles || items_.contains(stat->id)) return false;
  auto item = std::make_shared<Item>();
  item->file = std::move(file);
  item->repair = repair;
  item->allocated_bytes = stat->allocated_bytes;
  found_.erase(stat->id);
  items_.emplace(stat->id, std::move(item));
  if (threads_.empty()) {
    threads_.emplace_back([this] { Loop(UINT64_MAX); });
    threads_.emplace_back([this] { Loop(kLittle); });
  }
  changed_.NotifyAll();
  return true;
}

uint32_t BackgroundRepairs::Percent(const FileId& id) const {
  const MutexLock lock(mu_);
  const auto found = items_.find(id);
  return found == items_.end() ? 0 : found->second->percent.load(std::memory_order_relaxed);
}

void BackgroundRepairs::KeepOnly(const std::set<FileId>& ids) {
  const MutexLock lock(mu_);
  std::erase_if(found_, [&](const auto& found) { return !ids.contains(found.first); });
}

void BackgroundRepairs::Stop() {
  std::vector<std::thread> threads;
  {
    const MutexLock lock(mu_);
    stop_ = true;
    threads.swap(threads_);
    changed_.NotifyAll();
  }
  for (std::thread& thread : threads) thread.join();
  const MutexLock lock(mu_);
  items_.clear();
}

std::shared_ptr<BackgroundRepairs::Item> BackgroundRepairs::WaitForWork(
    uint64_t largest, std::unique_ptr<File>& file) {
  const MutexLock lock(mu_);
  for (;;) {
    if (stop_) return nullptr;
    std::shared_ptr<Item> smallest;
    for (const auto& [id, item] : items_) {
      if (item->file == nullptr || item->allocated_bytes > largest) continue;
      if (!smallest || item->allocated_bytes < smallest->allocated_bytes) smallest = item;
    }
    if (smallest) {
      file = std::move(smallest->file);
      return smallest;
    }
    changed_.Wait(mu_);
  }
}

BackgroundRepairs::Found BackgroundRepairs::Repair(File& file, Item& item) const {
  const Status repaired =
      item.repair(file, {.stop = &stop_, .percent = [&item](uint32_t percent) {
                           item.percent.store(percent, std::memory_order_relaxed);
                         }});
  Found found;
  if (!repaired) found.reason = repaired.error().message;
  // When even this fails, the next one who asks has it done again.
  if (const Result<FileStat> stat = file.Stat()) found.stat = *stat;
  return found;
}

void BackgroundRepairs::Loop(uint64_t largest) {
  std::unique_ptr<File> file;
  while (const std::shared_ptr<Item> item = WaitForWork(largest, file)) {
    Found found = Repair(*file, *item);
    // Closed, and with it unlocked, before anybody is told.
    file.reset();
    if (stop_) return;
    {
      const MutexLock lock(mu_);
      std::erase_if(items_, [&](const auto& other) { return other.second == item; });
      if (found.stat.id != FileId{}) found_[found.stat.id] = std::move(found);
    }
    finished_();
  }
}

}  // namespace chainfs
