// SPDX-License-Identifier: Apache-2.0
#include "ctl/qmp/message_splitter.h"

#include <utility>

namespace chainfs::qmp {
namespace {

bool IsSpace(char byte) { return byte == ' ' || byte == '\t' || byte == '\n' || byte == '\r'; }

bool IsControlOrHigh(char byte) {
  const auto value = static_cast<unsigned char>(byte);
  return value < 0x20 || value >= 0x7f;
}

constexpr std::string_view kStray = "JSON parse error, stray byte";
constexpr std::string_view kTooLong = "JSON token size limit exceeded";
constexpr std::string_view kTooDeep = "JSON nesting depth limit exceeded";
constexpr std::string_view kNoValue = "JSON parse error, expecting value";

}  // namespace

std::optional<MessageSplitter::Item> MessageSplitter::Next() {
  while (!input_.empty()) {
    const char byte = input_.front();
    input_.remove_prefix(1);
    if (std::optional<Item> item = Take(byte)) return item;
  }
  return std::nullopt;
}

std::optional<MessageSplitter::Item> MessageSplitter::Take(char byte) {
  if (place_ == Place::kString) return TakeInString(byte);
  if (place_ == Place::kSkipping) {
    if (byte == '\n') place_ = Place::kBetween;
    return std::nullopt;
  }
  if (IsControlOrHigh(byte) && !IsSpace(byte)) return GiveUp(kStray, Place::kBetween);
  return TakeOutside(byte);
}

std::optional<MessageSplitter::Item> MessageSplitter::TakeOutside(char byte) {
  const bool opens = byte == '{' || byte == '[';
  const bool closes = byte == '}' || byte == ']';
  if (place_ == Place::kBetween) {
    if (IsSpace(byte)) return std::nullopt;
    if (closes) return Item{.message = {}, .error = kNoValue};
    place_ = opens ? Place::kInside : Place::kWord;
  } else if (place_ == Place::kWord) {
    if (IsSpace(byte)) return Finish();
    if (opens || closes) {
      // The word ends here, and this byte belongs to what follows.
      input_ = std::string_view(input_.data() - 1, input_.size() + 1);
      return Finish();
    }
  }
  if (byte == '"' || byte == '\'') {
    around_ = place_;
    place_ = Place::kString;
    quote_ = byte;
    return Append('"');
  }
  if (opens && ++depth_ > kMaxDepth) return GiveUp(kTooDeep, Place::kSkipping);
  if (std::optional<Item> too_long = Append(byte)) return too_long;
  if (closes && --depth_ == 0) return Finish();
  return std::nullopt;
}

std::optional<MessageSplitter::Item> MessageSplitter::TakeInString(char byte) {
  if (static_cast<unsigned char>(byte) < 0x20) {
    // A string does not go on in the next line, so whoever broke off in one is heard there again.
    return GiveUp(kStray, byte == '\n' ? Place::kBetween : Place::kSkipping);
  }
  if (std::exchange(escaped_, false)) {
    // The backslash stands in the message already; JSON knows no \'.
    if (byte == '\'') message_.pop_back();
    return Append(byte);
  }
  if (byte == '\\') {
    escaped_ = true;
    return Append(byte);
  }
  if (byte == quote_) {
    place_ = around_;
    return Append('"');
  }
  if (byte == '"') {
    if (std::optional<Item> too_long = Append('\\')) return too_long;
  }
  return Append(byte);
}

std::optional<MessageSplitter::Item> MessageSplitter::Append(char byte) {
  if (message_.size() >= kMaxMessage) return GiveUp(kTooLong, Place::kSkipping);
  message_ += byte;
  return std::nullopt;
}

MessageSplitter::Item MessageSplitter::Finish() {
  Item item{.message = std::exchange(message_, {}), .error = {}};
  GiveUp({}, Place::kBetween);
  return item;
}

MessageSplitter::Item MessageSplitter::GiveUp(std::string_view error, Place next) {
  message_ = {};
  place_ = next;
  depth_ = 0;
  escaped_ = false;
  return Item{.message = {}, .error = error};
}

}  // namespace chainfs::qmp
