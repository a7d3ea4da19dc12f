// SPDX-License-Identifier: Apache-2.0
//
// What people should know of disks that work.
#include <algorithm>

#include "blocklayer/catalog/catalog_impl.h"
#include "blocklayer/catalog/name_rules.h"

namespace chainfs {

void Catalog::Impl::AddNotes(const Entry& entry, std::map<const Layer*, std::string>& fates,
                             std::vector<ImageNote>& notes) {
  const auto hidden = hidden_notes_.find(entry.id());
  const auto user = hidden_users_.find(entry.id());
  const bool is_reason =
      user != hidden_users_.end() && entry.frozen_because.ends_with(user->second.advice);
  const std::string also =
      hidden == hidden_notes_.end() || is_reason ? std::string() : hidden->second;
  const auto note = [&](const std::string& text, bool warning, bool lost = false) {
    if (text.empty()) return;
    notes.push_back(
        {.name = entry.name, .text = EscapeText(text), .warning = warning, .lost = lost});
  };
  note(entry.frozen_because, is_reason);
  note(also, true);
  note(entry.hint, false);
  note(LostLayer(*entry.disk, fates), true, true);
}

void Catalog::Impl::QueueWarnings(const std::vector<ImageNote>& notes) {
  for (const ImageNote& note : notes) {
    if (!note.warning) continue;
    const bool known = std::ranges::any_of(notes_, [&](const ImageNote& other) {
      return other.name == note.name && other.text == note.text;
    });
    if (!known) Queue([note](CatalogObserver& observer) { observer.Warned(note); });
  }
}

}  // namespace chainfs
