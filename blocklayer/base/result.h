// SPDX-License-Identifier: Apache-2.0
//
// Result<T> and Status: how every function that can fail says so. No exception of ours crosses a
// function boundary; std::bad_alloc may, and is caught at the edges (a FUSE callback, a TBB task).
#pragma once

#include <expected>
#include <utility>

#include "blocklayer/base/error.h"

namespace chainfs {

template <typename T>
using Result = std::expected<T, Error>;

using Status = Result<void>;

}  // namespace chainfs

#define CHAINFS_CONCAT_INNER(a, b) a##b
#define CHAINFS_CONCAT(a, b) CHAINFS_CONCAT_INNER(a, b)

// CHAINFS_TRY(status_expression): returns its error from the calling function. Names are numbered,
// because the expression may hold a lambda that uses the macros too.
#define CHAINFS_TRY(expression) \
  CHAINFS_TRY_INNER(CHAINFS_CONCAT(chainfs_status_, __COUNTER__), expression)
#define CHAINFS_TRY_INNER(status, expression)            \
  do {                                                   \
    if (auto status = (expression); !status) {           \
      return std::unexpected(std::move(status).error()); \
    }                                                    \
  } while (false)

// CHAINFS_ASSIGN(auto name, result_expression): declares or assigns, or returns the error.
#define CHAINFS_ASSIGN(declaration, expression) \
  CHAINFS_ASSIGN_INNER(CHAINFS_CONCAT(chainfs_result_, __COUNTER__), declaration, expression)
#define CHAINFS_ASSIGN_INNER(result, declaration, expression)     \
  auto result = (expression);                                     \
  if (!result) return std::unexpected(std::move(result).error()); \
  declaration = *std::move(result)
