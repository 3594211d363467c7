#include <algorithm>
#include <cmath>

#include <Eigen/Cholesky>

#include "lib/kernels/kernels.h"
#include "lib/train/closed_form.h"

namespace sluice::train {
namespace {

// Added to each variance, as a share of their mean: directions in which the calibration text
// hardly varies must not be blown up.
constexpr double kRidge = 1e-4;
constexpr size_t kColumns = 64;  // summed up by one thread at a time
constexpr size_t kRows = 128;
// Rows that are whitened through one buffer.
constexpr size_t kPassRows = 4096;

void Centre(FloatMatrix* inputs, std::vector<float>* mean, ThreadPool* pool) {
  mean->resize(inputs->cols);
  ForFixedPieces(pool, inputs->cols, kColumns, [&](size_t begin, size_t end) {
    double sums[kColumns] = {};
    for (size_t t = 0; t < inputs->rows; ++t) {
      const float* row = inputs->row(t);
      for (size_t c = begin; c < end; ++c) sums[c - begin] += static_cast<double>(row[c]);
    }
    for (size_t c = begin; c < end; ++c) {
      (*mean)[c] = static_cast<float>(sums[c - begin] / static_cast<double>(inputs->rows));
    }
  });
  ForFixedPieces(pool, inputs->rows, kRows, [&](size_t begin, size_t end) {
    for (size_t t = begin; t < end; ++t) {
      float* row = inputs->row(t);
      for (size_t c = 0; c < inputs->cols; ++c) row[c] -= (*mean)[c];
    }
  });
}

// covariance = root root^T.
absl::Status Factorise(const FloatMatrix& scatter, size_t tokens, Whitening* out) {
  using RowMajor = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  const Eigen::Index d = static_cast<Eigen::Index>(scatter.rows);
  const Eigen::Map<const RowMajor> sums(scatter.row(0), d, d);
  Eigen::MatrixXd covariance = sums.cast<double>() / static_cast<double>(tokens);
  // Not covariance.trace(), the same number: GCC 14 takes that for uninitialized.
  const double mean =
      (sums.cast<double>() / static_cast<double>(tokens)).trace() / static_cast<double>(d);
  covariance.diagonal().array() += mean > 0 ? mean * kRidge : 1.0;
  const Eigen::LLT<Eigen::MatrixXd> llt(covariance);
  if (llt.info() != Eigen::Success) {
    return absl::InternalError("the covariance of the FFN inputs has no Cholesky factor");
  }
  const Eigen::MatrixXd root = llt.matrixL();
  const Eigen::MatrixXd inverse =
      root.triangularView<Eigen::Lower>().solve(Eigen::MatrixXd::Identity(d, d));
  for (auto [from, to] : {std::pair{&root, &out->root}, std::pair{&inverse, &out->inverse}}) {
    *to = FloatMatrix(scatter.rows, scatter.cols);
    for (Eigen::Index i = 0; i < d; ++i) {
      float* row = to->row(static_cast<size_t>(i));
      for (Eigen::Index j = 0; j <= i; ++j) row[j] = static_cast<float>((*from)(i, j));
    }
  }
  return absl::OkStatus();
}

void MultiplyInPlace(const FloatMatrix& right, FloatMatrix* inputs, ThreadPool* pool) {
  const size_t d = inputs->cols;
  FloatMatrix pass(std::min(kPassRows, inputs->rows), d);
  for (size_t first = 0; first < inputs->rows; first += kPassRows) {
    const size_t rows = std::min(kPassRows, inputs->rows - first);
    ForFixedPieces(pool, rows, kRows, [&](size_t begin, size_t end) {
      std::fill(pass.row(begin), pass.row(begin) + (end - begin) * d, 0.0f);
      kernels::GemmNN(inputs->row(first + begin), d, right.row(0), d, end - begin, d, d,
                      pass.row(begin), d);
      std::copy(pass.row(begin), pass.row(begin) + (end - begin) * d,
                inputs->row(first + begin));
    });
  }
}

}  // namespace

absl::StatusOr<Whitening> Whiten(FloatMatrix* inputs, ThreadPool* pool) {
  Whitening out;
  Centre(inputs, &out.mean, pool);
  const FloatMatrix scatter = ProductTransposedLeft(*inputs, *inputs, pool);
  if (absl::Status status = Factorise(scatter, inputs->rows, &out); !status.ok()) return status;
  MultiplyInPlace(Transposed(out.inverse), inputs, pool);
  return out;
}

WhiteLayer MakeWhiteLayer(const FfnLayer& layer, const Whitening& whitening, ThreadPool* pool) {
  WhiteLayer white;
  white.up = Product(layer.up, whitening.root, pool);
  white.up_t = Transposed(white.up);
  white.bias.resize(layer.d_ffn());
  for (size_t n = 0; n < layer.d_ffn(); ++n) {
    double sum = static_cast<double>(layer.up_bias[n]);
    for (size_t c = 0; c < layer.d_model(); ++c) {
      sum += static_cast<double>(layer.up.row(n)[c]) * static_cast<double>(whitening.mean[c]);
    }
    white.bias[n] = static_cast<float>(sum);
  }
  return white;
}

Factors Unwhiten(const Factors& factors, const Whitening& whitening, ThreadPool* pool) {
  Factors out = factors;
  out.in_t = ProductTransposedLeft(whitening.inverse, factors.in_t, pool);
  std::vector<double> shift(factors.rank());
  for (size_t c = 0; c < whitening.mean.size(); ++c) {
    for (size_t r = 0; r < shift.size(); ++r) {
      shift[r] += static_cast<double>(out.in_t.row(c)[r]) * static_cast<double>(whitening.mean[c]);
    }
  }
  for (size_t n = 0; n < out.bias.size(); ++n) {
    double bias = static_cast<double>(out.bias[n]);
    for (size_t r = 0; r < shift.size(); ++r) {
      bias -= static_cast<double>(out.out_t.row(r)[n]) * shift[r];
    }
    out.bias[n] = static_cast<float>(bias);
  }
  return out;
}

}  // namespace sluice::train
