#include <cerrno>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "lib/io/batch_reader.h"
#include "lib/io/posix_file.h"

namespace sluice {
namespace {

struct ErrnoRow {
  int number;
  const char* name;
  absl::StatusCode code;
};

// Storage trouble is kUnavailable (an I/O error to the host), also where abseil's own mapping
// would say "cancelled": nobody cancelled anything when a kernel hands out ECANCELED.
constexpr ErrnoRow kRows[] = {
    {EIO, "EIO", absl::StatusCode::kUnavailable},
    {EAGAIN, "EAGAIN", absl::StatusCode::kUnavailable},
    {EINTR, "EINTR", absl::StatusCode::kUnavailable},
    {EBUSY, "EBUSY", absl::StatusCode::kUnavailable},
    {ECANCELED, "ECANCELED", absl::StatusCode::kUnavailable},
    {ETIMEDOUT, "ETIMEDOUT", absl::StatusCode::kUnavailable},
    {ETIME, "ETIME", absl::StatusCode::kUnavailable},
    {EREMOTEIO, "EREMOTEIO", absl::StatusCode::kUnavailable},
    {EPROTO, "EPROTO", absl::StatusCode::kUnavailable},
    {ECONNABORTED, "ECONNABORTED", absl::StatusCode::kUnavailable},
    {ENOTCONN, "ENOTCONN", absl::StatusCode::kUnavailable},
    {ESTALE, "ESTALE", absl::StatusCode::kUnavailable},
    {ENODATA, "ENODATA", absl::StatusCode::kUnavailable},
    {EILSEQ, "EILSEQ", absl::StatusCode::kUnavailable},
    {ENODEV, "ENODEV", absl::StatusCode::kUnavailable},
    {ENXIO, "ENXIO", absl::StatusCode::kUnavailable},
    {EXDEV, "EXDEV", absl::StatusCode::kUnavailable},
    {EACCES, "EACCES", absl::StatusCode::kPermissionDenied},
    {EPERM, "EPERM", absl::StatusCode::kPermissionDenied},
    {EROFS, "EROFS", absl::StatusCode::kPermissionDenied},
    {ENOENT, "ENOENT", absl::StatusCode::kNotFound},
    {ENOTDIR, "ENOTDIR", absl::StatusCode::kNotFound},
    {ENOMEM, "ENOMEM", absl::StatusCode::kResourceExhausted},
    {ENOSPC, "ENOSPC", absl::StatusCode::kResourceExhausted},
    {EDQUOT, "EDQUOT", absl::StatusCode::kResourceExhausted},
    {EMFILE, "EMFILE", absl::StatusCode::kResourceExhausted},
    {ENFILE, "ENFILE", absl::StatusCode::kResourceExhausted},
    {EFBIG, "EFBIG", absl::StatusCode::kResourceExhausted},
    {EINVAL, "EINVAL", absl::StatusCode::kInvalidArgument},
    {EISDIR, "EISDIR", absl::StatusCode::kInvalidArgument},
    {ENAMETOOLONG, "ENAMETOOLONG", absl::StatusCode::kInvalidArgument},
    {ELOOP, "ELOOP", absl::StatusCode::kInvalidArgument},
    {ENOSYS, "ENOSYS", absl::StatusCode::kUnimplemented},
    {EOPNOTSUPP, "EOPNOTSUPP", absl::StatusCode::kUnimplemented},
    {EFAULT, "EFAULT", absl::StatusCode::kInternal},
    {EBADF, "EBADF", absl::StatusCode::kInternal},
};

const ErrnoRow* FindRow(int error_number) {
  for (const ErrnoRow& row : kRows) {
    if (row.number == error_number) return &row;
  }
  return nullptr;
}

}  // namespace

std::string ErrnoName(int error_number) {
  const ErrnoRow* row = FindRow(error_number);
  return row != nullptr ? row->name : absl::StrCat("errno ", error_number);
}

absl::Status ErrnoStatus(int error_number, absl::string_view what) {
  const ErrnoRow* row = FindRow(error_number);
  const absl::StatusCode code = row != nullptr ? row->code : absl::StatusCode::kUnavailable;
  return absl::Status(code, absl::StrCat(what, ": ", ErrnoName(error_number), " (",
                                         std::generic_category().message(error_number), ")"));
}

}  // namespace sluice
