// SPDX-License-Identifier: Apache-2.0
//
// ImageFormat: the format of an image, as a value: the word by which headers and options name it.
// Which formats there are, and what each can do, the registry knows (formats/registry).
#pragma once

#include <string_view>

namespace chainfs {

class ImageFormat {
 public:
  // The two that others must know by name: what has no header, and what overlays are made of.
  static const ImageFormat kRaw;
  static const ImageFormat kQcow2;

  // `name` is never freed: a literal.
  explicit constexpr ImageFormat(std::string_view name) : name_(name) {}

  constexpr std::string_view name() const { return name_; }
  bool operator==(const ImageFormat&) const = default;

 private:
  std::string_view name_;
};

inline constexpr ImageFormat ImageFormat::kRaw("raw");
inline constexpr ImageFormat ImageFormat::kQcow2("qcow2");

}  // namespace chainfs
