// Size arithmetic on numbers that come from a file. Every count, offset and product of a model
// file goes through here: one type that remembers an overflow, instead of spot checks.
#ifndef SLUICE_LIB_BASE_CHECKED_H_
#define SLUICE_LIB_BASE_CHECKED_H_

#include <cstdint>

namespace sluice {

// An unsigned 64-bit value that becomes (and stays) invalid when an operation on it wraps.
//   Checked bytes = Checked(rows) * cols * ElementBytes(type) + offset;
//   if (!bytes.valid() || bytes.value() > file_bytes) return ...;
class Checked {
 public:
  constexpr Checked(uint64_t value) : value_(value) {}  // NOLINT: implicit on purpose

  constexpr bool valid() const { return valid_; }
  // Meaningful only when valid().
  constexpr uint64_t value() const { return value_; }
  constexpr bool valid_and_at_most(uint64_t limit) const { return valid_ && value_ <= limit; }

  friend constexpr Checked operator+(Checked a, Checked b) {
    Checked r(0);
    r.valid_ = !__builtin_add_overflow(a.value_, b.value_, &r.value_) && a.valid_ && b.valid_;
    return r;
  }
  friend constexpr Checked operator*(Checked a, Checked b) {
    Checked r(0);
    r.valid_ = !__builtin_mul_overflow(a.value_, b.value_, &r.value_) && a.valid_ && b.valid_;
    return r;
  }
  // The next multiple of `alignment`, a power of two.
  constexpr Checked RoundUp(uint64_t alignment) const {
    Checked r = *this + Checked(alignment - 1);
    r.value_ &= ~(alignment - 1);
    return r;
  }

 private:
  uint64_t value_;
  bool valid_ = true;
};

// For values that are known not to wrap (sizes already checked).
constexpr uint64_t RoundUp(uint64_t value, uint64_t alignment) {
  return (value + alignment - 1) & ~(alignment - 1);
}
constexpr uint64_t DivideRoundUp(uint64_t value, uint64_t by) { return (value + by - 1) / by; }

}  // namespace sluice

#endif  // SLUICE_LIB_BASE_CHECKED_H_
