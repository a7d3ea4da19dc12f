// SPDX-License-Identifier: Apache-2.0
//
// What goes to people: aligned tables, colours, and text that cannot do harm to a terminal. File
// names come from images, which may be hostile; everything foreign passes SafeText.
#pragma once

#include <cstdio>
#include <string>
#include <string_view>
#include <vector>

namespace chainfs::chainctl {

// Control characters (C0, DEL, C1) replaced by '?'.
std::string SafeText(std::string_view text);
// Characters, not bytes: UTF-8 continuation bytes do not count.
size_t TextWidth(std::string_view text);
// Columns of the terminal behind `stream`, or of $COLUMNS, else 80.
size_t TerminalWidth(FILE* stream);
// Whether the locale's character set is UTF-8, by LC_ALL, LC_CTYPE, LANG.
bool Utf8Locale();

enum class Colour : unsigned char {
  kNone,
  kBold,
  kDim,
  kRed,
  kGreen,
  kYellow,
  kBlue,
  kMagenta,
  kCyan
};

// Colours only where a person sees them: on a terminal, without NO_COLOR and not TERM=dumb.
class Painter {
 public:
  explicit Painter(bool enabled) : enabled_(enabled) {}
  static Painter For(FILE* stream);

  bool enabled() const { return enabled_; }
  std::string Paint(Colour colour, std::string_view text) const;

 private:
  bool enabled_;
};

class Table {
 public:
  enum class Align : unsigned char { kLeft, kRight };
  struct Cell {
    std::string text;
    Colour colour = Colour::kNone;
    Cell(std::string cell_text, Colour cell_colour = Colour::kNone)  // NOLINT: a text is a cell
        : text(std::move(cell_text)), colour(cell_colour) {}
    Cell(const char* cell_text) : text(cell_text) {}  // NOLINT
  };

  Table& AddColumn(std::string header, Align align = Align::kLeft);
  void AddRow(std::vector<Cell> cells);
  bool empty() const { return rows_.empty(); }
  // Two spaces between columns, no trailing spaces; every line ends with a newline.
  std::string Render(const Painter& painter) const;

 private:
  struct Column {
    std::string header;
    Align align;
  };
  std::vector<Column> columns_;
  std::vector<std::vector<Cell>> rows_;
};

// To stdout, at once.
void Print(std::string_view text);
// One line to stderr.
void Note(std::string_view text);

}  // namespace chainfs::chainctl
