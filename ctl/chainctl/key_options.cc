// SPDX-License-Identifier: Apache-2.0
#include "ctl/chainctl/key_options.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>

#include "ctl/chainctl/output.h"
#include "ctl/chainctl/size.h"

namespace chainfs::chainctl {
namespace {

using verbs::KeyType;

std::string HelpOf(const verbs::Key& key) {
  if (key.otherwise.empty()) return std::string(key.help);
  return fmt::format("{} (default: {})", key.help, key.otherwise);
}

// Errors repeat what was typed.
std::unexpected<Error> Safely(Error error) {
  error.message = SafeText(error.message);
  return std::unexpected(std::move(error));
}

}  // namespace

const verbs::Verb& CommandOf(std::string_view verb) {
  return *verbs::FindVerb(verbs::Verbs(), verb);
}

void AddDisk(CLI::App& verb, std::string& disk) {
  verb.add_option("DISK", disk, "Mounted file")->required();
}

CLI::Option* AddKeyOption(CLI::App& verb, const verbs::Key& key, verbs::Arguments& arguments,
                          const std::string& names) {
  const std::string name(key.name);
  const std::string shown = names.empty() ? "--" + name : names;
  if (key.type == KeyType::kSwitch) {
    return verb.add_flag_callback(
        shown, [name, &arguments] { arguments.Set(name, "yes"); }, std::string(key.help));
  }
  if (key.type == KeyType::kNumber) {
    return verb
        .add_option_function<uint64_t>(
            shown,
            [name, &arguments](uint64_t number) { arguments.Set(name, std::to_string(number)); },
            HelpOf(key))
        ->type_name(verbs::ValueName(key));
  }
  CLI::Option* const option = verb.add_option_function<std::string>(
      shown, [name, &arguments](const std::string& text) { arguments.Set(name, text); },
      HelpOf(key));
  if (key.type != KeyType::kWord) return option->type_name(verbs::ValueName(key));
  return option->type_name("WORD")->check(
      CLI::IsMember(std::vector<std::string>(key.words.begin(), key.words.end())));
}

void AddKeyOptions(CLI::App& verb, const verbs::Verb& command,
                   std::initializer_list<std::string_view> without, verbs::Arguments& arguments) {
  for (const verbs::Key& key : command.keys) {
    if (std::ranges::find(without, key.name) != without.end()) continue;
    AddKeyOption(verb, key, arguments);
  }
}

void AddFormatOptions(CLI::App& verb, std::span<const verbs::Key> keys,
                      std::vector<std::string>& lists) {
  verb.add_option("-o", lists, "Format options: " + verbs::KeyNames(keys))
      ->type_name("KEY=VALUE,...")
      ->allow_extra_args(false);
}

Result<verbs::Arguments> AsSent(verbs::Arguments typed, std::span<const verbs::Key> keys) {
  for (const verbs::Key& key : keys) {
    if (key.type != KeyType::kSize && key.type != KeyType::kRate) continue;
    const std::optional<std::string> text = typed.Text(key.name);
    if (!text) continue;
    CHAINFS_ASSIGN(const uint64_t bytes, ParseTypedSize(*text));
    typed.Set(key.name, std::to_string(bytes));
  }
  if (const Status checked = typed.CheckValues(keys); !checked) return Safely(checked.error());
  return typed;
}

Result<verbs::Arguments> FormatOptionsAsSent(const std::vector<std::string>& lists,
                                             std::span<const verbs::Key> keys) {
  verbs::Arguments all;
  for (const std::string& list : lists) {
    const Result<verbs::Arguments> some = verbs::Arguments::Split(list, keys);
    if (!some) return Safely(some.error());
    for (const verbs::Key& key : keys) all.SetIf(key.name, some->Text(key.name));
  }
  return AsSent(std::move(all), keys);
}

}  // namespace chainfs::chainctl
