// SPDX-License-Identifier: Apache-2.0
#include "ctl/chainctl/output.h"

#include <fmt/core.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>

namespace chainfs::chainctl {
namespace {

const char* CodeOf(Colour colour) {
  switch (colour) {
    case Colour::kNone:
      return "";
    case Colour::kBold:
      return "\033[1m";
    case Colour::kDim:
      return "\033[2m";
    case Colour::kRed:
      return "\033[31m";
    case Colour::kGreen:
      return "\033[32m";
    case Colour::kYellow:
      return "\033[33m";
    case Colour::kBlue:
      return "\033[34m";
    case Colour::kMagenta:
      return "\033[35m";
    case Colour::kCyan:
      return "\033[36m";
  }
  return "";
}

}  // namespace

std::string SafeText(std::string_view text) {
  std::string safe;
  safe.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    const auto next = i + 1 < text.size() ? static_cast<unsigned char>(text[i + 1]) : 0U;
    if (byte == 0xC2 && next >= 0x80 && next < 0xA0) {  // C1 controls as UTF-8
      safe += '?';
      ++i;
    } else if (byte < 0x20 || byte == 0x7F) {
      safe += '?';
    } else {
      safe += text[i];
    }
  }
  return safe;
}

size_t TextWidth(std::string_view text) {
  return static_cast<size_t>(std::ranges::count_if(
      text, [](char letter) { return (static_cast<unsigned char>(letter) & 0xC0U) != 0x80U; }));
}

size_t TerminalWidth(FILE* stream) {
  winsize size = {};
  if (ioctl(fileno(stream), TIOCGWINSZ, &size) == 0 && size.ws_col > 0) return size.ws_col;
  if (const char* const columns = std::getenv("COLUMNS")) {
    const long value = std::strtol(columns, nullptr, 10);
    if (value > 0 && value < 10000) return static_cast<size_t>(value);
  }
  return 80;
}

bool Utf8Locale() {
  for (const char* const name : {"LC_ALL", "LC_CTYPE", "LANG"}) {
    const char* const value = std::getenv(name);
    if (value == nullptr || *value == '\0') continue;
    return strcasestr(value, "utf-8") != nullptr || strcasestr(value, "utf8") != nullptr;
  }
  return false;
}

Painter Painter::For(FILE* stream) {
  const char* const no_colour = std::getenv("NO_COLOR");
  const char* const terminal = std::getenv("TERM");
  return Painter(isatty(fileno(stream)) == 1 && (no_colour == nullptr || *no_colour == '\0') &&
                 terminal != nullptr && std::strcmp(terminal, "dumb") != 0);
}

std::string Painter::Paint(Colour colour, std::string_view text) const {
  if (!enabled_ || colour == Colour::kNone || text.empty()) return std::string(text);
  return fmt::format("{}{}\033[0m", CodeOf(colour), text);
}

Table& Table::AddColumn(std::string header, Align align) {
  columns_.push_back({.header = std::move(header), .align = align});
  return *this;
}

void Table::AddRow(std::vector<Cell> cells) {
  cells.resize(columns_.size(), Cell(""));
  rows_.push_back(std::move(cells));
}

std::string Table::Render(const Painter& painter) const {
  std::vector<size_t> widths;
  for (size_t i = 0; i < columns_.size(); ++i) {
    size_t width = TextWidth(columns_[i].header);
    for (const auto& row : rows_) width = std::max(width, TextWidth(row[i].text));
    widths.push_back(width);
  }
  const auto line = [&](const std::vector<Cell>& cells) {
    std::string text;
    size_t pending = 0;  // spaces that are written only if something follows
    for (size_t i = 0; i < cells.size(); ++i) {
      if (i > 0) pending += 2;
      const size_t fill = widths[i] - TextWidth(cells[i].text);
      if (columns_[i].align == Align::kRight) pending += fill;
      if (!cells[i].text.empty()) {
        text.append(pending, ' ');
        pending = 0;
        text += painter.Paint(cells[i].colour, cells[i].text);
      } else if (columns_[i].align == Align::kRight) {
        continue;  // `fill` was the whole width
      }
      if (columns_[i].align == Align::kLeft) pending += fill;
    }
    return text + "\n";
  };
  std::vector<Cell> header;
  header.reserve(columns_.size());
  for (const Column& column : columns_) header.emplace_back(column.header, Colour::kBold);
  std::string text = line(header);
  for (const auto& row : rows_) text += line(row);
  return text;
}

void Print(std::string_view text) {
  std::fwrite(text.data(), 1, text.size(), stdout);
  std::fflush(stdout);
}

void Note(std::string_view text) { fmt::print(stderr, "chainctl: {}\n", text); }

}  // namespace chainfs::chainctl
