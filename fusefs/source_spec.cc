// SPDX-License-Identifier: Apache-2.0
#include "fusefs/source_spec.h"
#include "blocklayer/formats/registry/format_registry.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <filesystem>

#include "blocklayer/catalog/name_rules.h"

namespace chainfs::fusefs {
namespace {

constexpr std::string_view kFormatKey = ",format=";

bool Exists(const std::string& path) {
  struct stat st = {};
  return ::lstat(path.c_str(), &st) == 0;
}

// A chain's name becomes a file name; the catalog checks collisions.
bool IsLegalName(std::string_view name) {
  if (name.empty() || name == "." || name == ".." || name.size() > kMaxChainName) {
    return false;
  }
  for (const char c : name) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '/' || byte < 0x20 || byte == 0x7f) return false;
  }
  return true;
}

}  // namespace

std::string AbsolutePath(std::string_view path, std::string_view working_directory) {
  std::string spelled = (std::filesystem::path(working_directory) / path).string();
  while (spelled.size() > 1 && spelled.back() == '/') spelled.pop_back();
  const std::filesystem::path whole(spelled);
  if (std::ranges::find(whole, "..") == whole.end()) {
    std::string plain = whole.lexically_normal().string();
    while (plain.size() > 1 && plain.back() == '/') plain.pop_back();
    return plain;
  }
  // Beyond a link ".." is not what the text says. Where the host does not know the way either, the
  // path stays as it is, and whoever opens it hears why.
  std::error_code unknown;
  const bool ends_with_name = whole.filename() != ".." && whole.filename() != ".";
  const std::filesystem::path way =
      std::filesystem::canonical(ends_with_name ? whole.parent_path() : whole, unknown);
  if (unknown) return spelled;
  return (ends_with_name ? way / whole.filename() : way).string();
}

Result<SourceSpec> ParseSource(const std::string& text, const std::string& working_directory) {
  SourceSpec spec;
  if (text.empty())
    return Fail(ErrorKind::kInvalidArgument, "SOURCE is empty; name an image or a directory");
  if (Exists(AbsolutePath(text, working_directory))) {
    spec.path = AbsolutePath(text, working_directory);
    return spec;
  }
  std::string_view rest = text;
  if (const size_t comma = rest.rfind(kFormatKey); comma != std::string_view::npos) {
    const std::string_view word = rest.substr(comma + kFormatKey.size());
    spec.format = ParseImageFormat(word);
    if (!spec.format) {
      return Fail(ErrorKind::kInvalidArgument,
                  fmt::format("SOURCE {}: format={}: no such format; chainfs knows {}", text, word,
                              FormatRegistry::BuiltIn().Names()));
    }
    rest = rest.substr(0, comma);
  }
  const size_t equals = rest.find('=');
  if (equals != std::string_view::npos &&
      rest.substr(0, equals).find('/') == std::string_view::npos) {
    spec.name = std::string(rest.substr(0, equals));
    rest = rest.substr(equals + 1);
    if (!IsLegalName(*spec.name)) {
      return Fail(ErrorKind::kInvalidArgument,
                  fmt::format("SOURCE {}: \"{}\" cannot be the name of a file", text, *spec.name));
    }
  }
  if (rest.empty()) {
    return Fail(ErrorKind::kInvalidArgument, fmt::format("SOURCE {}: no file is named", text));
  }
  spec.path = AbsolutePath(rest, working_directory);
  return spec;
}

}  // namespace chainfs::fusefs
