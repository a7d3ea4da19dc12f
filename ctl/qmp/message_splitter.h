// SPDX-License-Identifier: Apache-2.0
//
// MessageSplitter: cuts the bytes of a client into messages. QMP needs no line ends: a message is
// over when its outermost brace or bracket closes. Strings in single quotes, which QEMU takes as
// well, come out in double quotes.
//
// Whatever arrives, no more than kMaxMessage bytes are held. What can be no message is reported at
// once; the next one begins after the end of that line. A byte that may not stand outside a string
// (QEMU's clients send 0xFF to make themselves heard) also ends what was begun.
//
// Threads: none; belongs to one connection.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace chainfs::qmp {

class MessageSplitter {
 public:
  static constexpr size_t kMaxMessage = size_t{1} << 20;
  static constexpr size_t kMaxDepth = 128;

  struct Item {
    std::string message;     // balanced, otherwise unchecked
    std::string_view error;  // not empty: no message, and why
  };

  // What the client has sent; call Next until it has no more before the next Feed.
  void Feed(std::string_view bytes) { input_ = bytes; }
  // Nothing: all that was fed is used up.
  std::optional<Item> Next();

 private:
  enum class Place : unsigned char {
    kBetween,  // messages
    kWord,     // of a message that is neither object nor array
    kInside,   // the outermost brace or bracket
    kString,
    kSkipping,  // to the end of the line
  };

  std::optional<Item> Take(char byte);
  std::optional<Item> TakeOutside(char byte);
  std::optional<Item> TakeInString(char byte);
  std::optional<Item> Append(char byte);
  Item Finish();
  Item GiveUp(std::string_view error, Place next);

  std::string_view input_;
  std::string message_;
  Place place_ = Place::kBetween;
  Place around_ = Place::kBetween;  // of the string
  size_t depth_ = 0;
  char quote_ = '"';
  bool escaped_ = false;
};

}  // namespace chainfs::qmp
