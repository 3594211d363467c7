#include "lib/train/closed_form.h"

#include <algorithm>
#include <cmath>
#include <random>

#include <Eigen/Eigenvalues>
#include <Eigen/QR>

namespace sluice::train {
namespace {

using RowMajor = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

// Up to here a full decomposition takes a second at most.
constexpr size_t kDirectSize = 512;
// Rounds of the subspace iteration, and directions that it carries beyond those asked for.
constexpr int kRounds = 4;
constexpr size_t kExtraDirections = 16;
// Standard deviation of the logistic distribution is pi / sqrt(3): about its inverse turns the
// width of a normal residual into that of a logit.
constexpr double kLogitPerWidth = 1.7;
// A neuron that the map describes exactly gets this share of its own width for a residual.
constexpr double kResidualFloor = 0.05;
constexpr double kWidthFloor = 1e-3;  // of the layer's mean width, for rows of zeros

Eigen::Index Index(size_t i) { return static_cast<Eigen::Index>(i); }

Eigen::MatrixXd ToEigen(const FloatMatrix& m) {
  return Eigen::Map<const RowMajor>(m.row(0), Index(m.rows), Index(m.cols)).cast<double>();
}

FloatMatrix FromEigen(const Eigen::MatrixXd& m) {
  FloatMatrix out(static_cast<size_t>(m.rows()), static_cast<size_t>(m.cols()));
  Eigen::Map<RowMajor>(out.row(0), m.rows(), m.cols()) = m.cast<float>();
  return out;
}

// Eigen sorts eigenvalues in ascending order.
Eigen::MatrixXd LargestFirst(const Eigen::MatrixXd& symmetric, size_t count) {
  const Eigen::SelfAdjointEigenSolver<Eigen::MatrixXd> solver(symmetric);
  return solver.eigenvectors().rightCols(Index(count)).rowwise().reverse();
}

Eigen::MatrixXd Orthonormal(const Eigen::MatrixXd& m) {
  const Eigen::HouseholderQR<Eigen::MatrixXd> qr(m);
  return qr.householderQ() * Eigen::MatrixXd::Identity(m.rows(), m.cols());
}

}  // namespace

FloatMatrix IterateSubspace(const FloatMatrix& matrix, size_t count, uint64_t seed,
                            ThreadPool* pool) {
  const size_t width = std::min(count + kExtraDirections, matrix.rows);
  FloatMatrix basis(matrix.rows, width);
  std::mt19937_64 random(seed);
  for (float& v : basis.values) {
    v = static_cast<float>(static_cast<double>(random() >> 11) * 0x1p-53 - 0.5);
  }
  for (int round = 0; round < kRounds; ++round) {
    basis = FromEigen(Orthonormal(ToEigen(Product(matrix, basis, pool))));
  }
  const FloatMatrix small =
      ProductTransposedLeft(basis, Product(matrix, basis, pool), pool);
  return Product(basis, FromEigen(LargestFirst(ToEigen(small), count)), pool);
}

FloatMatrix TopEigenvectors(const FloatMatrix& matrix, size_t count, uint64_t seed,
                            ThreadPool* pool) {
  if (matrix.rows > kDirectSize) return IterateSubspace(matrix, count, seed, pool);
  return FromEigen(LargestFirst(ToEigen(matrix), count));
}

FloatMatrix MainDirections(const WhiteLayer& layer, size_t count, uint64_t seed,
                           ThreadPool* pool) {
  return TopEigenvectors(Product(layer.up_t, layer.up, pool), count, seed, pool);
}

Factors ClosedForm(const WhiteLayer& layer, const FloatMatrix& directions, size_t rank,
                   ThreadPool* pool) {
  Factors factors;
  factors.in_t = FloatMatrix(directions.rows, rank);
  for (size_t c = 0; c < directions.rows; ++c) {
    std::copy_n(directions.row(c), rank, factors.in_t.row(c));
  }
  FloatMatrix out = Product(layer.up, factors.in_t, pool);
  std::vector<double> width(out.rows), residual(out.rows);
  double mean_width = 0;
  for (size_t n = 0; n < out.rows; ++n) {
    double whole = 0, mapped = 0;
    for (size_t c = 0; c < layer.up.cols; ++c) {
      whole += static_cast<double>(layer.up.row(n)[c]) * static_cast<double>(layer.up.row(n)[c]);
    }
    for (size_t r = 0; r < rank; ++r) {
      mapped += static_cast<double>(out.row(n)[r]) * static_cast<double>(out.row(n)[r]);
    }
    width[n] = std::sqrt(whole);
    residual[n] = std::sqrt(std::max(whole - mapped, 0.0));
    mean_width += width[n] / static_cast<double>(out.rows);
  }
  const double floor = mean_width > 0 ? kWidthFloor * mean_width : 1.0;
  factors.bias = layer.bias;
  for (size_t n = 0; n < out.rows; ++n) {
    const float scale = static_cast<float>(
        kLogitPerWidth / std::max(residual[n] + kResidualFloor * width[n], floor));
    for (size_t r = 0; r < rank; ++r) out.row(n)[r] *= scale;
    factors.bias[n] *= scale;
  }
  factors.out_t = Transposed(out);
  return factors;
}

}  // namespace sluice::train
