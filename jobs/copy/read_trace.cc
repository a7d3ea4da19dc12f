// SPDX-License-Identifier: Apache-2.0
#include "jobs/copy/read_trace.h"

#include <fmt/format.h>

#include <charconv>
#include <optional>

#include "blocklayer/base/percent_text.h"
#include "blocklayer/catalog/name_rules.h"

namespace chainfs::jobs {
namespace {

constexpr std::string_view kTraceHeader = "chainfs-trace 1";

// Digits and nothing else, which are taken away from the front.
std::optional<uint64_t> TakeNumber(std::string_view* text) {
  uint64_t number = 0;
  const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), number);
  if (error != std::errc()) return std::nullopt;
  text->remove_prefix(static_cast<size_t>(end - text->data()));
  return number;
}

std::optional<ChunkRange> ParseTraceLine(std::string_view line) {
  const std::optional<uint64_t> offset = TakeNumber(&line);
  if (!offset || !line.starts_with(' ')) return std::nullopt;
  line.remove_prefix(1);
  const std::optional<uint64_t> length = TakeNumber(&line);
  if (!length || !line.empty() || *length == 0 || *offset > INT64_MAX || *length > INT64_MAX) {
    return std::nullopt;
  }
  return ChunkRange{*offset, *length};
}

}  // namespace

std::string FormatTrace(std::string_view disk, std::span<const ChunkRange> ranges) {
  std::string text = fmt::format("{}\n# what was read of {} (offset and length in bytes)\n",
                                 kTraceHeader, PercentEscape(disk));
  for (size_t i = 0; i < ranges.size(); ++i) {
    ChunkRange range = ranges[i];
    while (i + 1 < ranges.size() && ranges[i + 1].offset == range.offset + range.length) {
      range.length += ranges[++i].length;
    }
    text += fmt::format("{} {}\n", range.offset, range.length);
  }
  return text;
}

Result<std::vector<ChunkRange>> ParseTrace(std::string_view path, std::string_view text) {
  std::vector<ChunkRange> ranges;
  const auto refuse = [&](std::string_view why) {
    return Fail(ErrorKind::kInvalidArgument, EscapeText(fmt::format("{}: {}", path, why)));
  };
  for (size_t number = 1; !text.empty() || number == 1; ++number) {
    const std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(line.size() + 1, text.size()));
    if (number == 1) {
      if (line == kTraceHeader) continue;
      return refuse(fmt::format("is no read trace: its first line is not \"{}\"", kTraceHeader));
    }
    if (line.empty() || line.starts_with('#')) continue;
    const std::optional<ChunkRange> range = ParseTraceLine(line);
    if (!range) {
      return refuse(fmt::format("line {} is not an offset and a length in bytes", number));
    }
    if (ranges.size() == kMostTraceRanges) {
      return refuse(fmt::format("has more than {} ranges; shorten it", kMostTraceRanges));
    }
    ranges.push_back(*range);
  }
  return ranges;
}

}  // namespace chainfs::jobs
