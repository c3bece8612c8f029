# Reads a task from a folder, says "ready", then for each tolerance on its input fits, writes coefs.bin and says
# "done <seconds> <peak resident set in kB>". Only the fit itself is inside the clock.

folder <- commandArgs(trailingOnly = TRUE)[1]
facts <- read.table(file.path(folder, "facts.txt"), colClasses = "character")
facts <- setNames(as.list(facts$V2), facts$V1)
n <- as.integer(facts$n); d <- as.integer(facts$d); K <- as.integer(facts$K)
method <- facts$method; kind <- facts$kind

numbers <- function(name, count) readBin(file.path(folder, paste0(name, ".bin")), "double", count, size = 8, endian = "little")
integers <- function(name, count) readBin(file.path(folder, paste0(name, ".bin")), "integer", count, size = 4, endian = "little")

suppressMessages({library(methods); library(Matrix)})
if (facts$sparse == "1") {
  nnz <- as.integer(facts$nnz)
  X <- new("dgCMatrix", i = integers("i", nnz), p = integers("p", d + 1L), x = numbers("x", nnz), Dim = c(n, d))
} else {
  X <- matrix(numbers("x", n * d), n, d)
}
y <- factor(integers("y", n), levels = 0:(K - 1))
penalties <- numbers("penalties", as.integer(facts$penalties))
alpha <- if (kind == "lasso-path") 1 else 0
type <- if (method == "glmnet_grouped") "grouped" else "ungrouped"

peak <- function() {
  line <- grep("^VmHWM", readLines("/proc/self/status"), value = TRUE)
  as.numeric(gsub("[^0-9]", "", line))
}

# (K, d + 1) for each penalty, the intercept in front; the columns of glmnet's coefficients are the penalties.
stacked <- function(model) {
  each <- coef(model)
  lapply(seq_along(model$lambda), function(j) do.call(rbind, lapply(each, function(m) t(m[, j, drop = FALSE]))))
}

fit_glmnet <- function(rows, tol) {
  glmnet::glmnet(X[rows, , drop = FALSE], y[rows], family = "multinomial", alpha = alpha, lambda = penalties,
                 standardize = FALSE, thresh = tol, maxit = 1e9, type.multinomial = type)
}

write_dense <- function(matrices) {
  con <- file(file.path(folder, "coefs.bin"), "wb")
  for (m in matrices) writeBin(as.double(t(as.matrix(m))), con, size = 8, endian = "little")
  close(con)
}

write_sparse <- function(matrices) {
  con <- file(file.path(folder, "coefs.bin"), "wb")
  for (p in seq_along(matrices)) {
    m <- summary(as(as(matrices[[p]], "generalMatrix"), "TsparseMatrix"))
    writeBin(as.double(rbind(p - 1, m$i - 1, m$j - 1, m$x)), con, size = 8, endian = "little")
  }
  close(con)
}

everything <- seq_len(n)
run <- function(tol) {
  if (method == "multinom") {
    data <- data.frame(y = y); data$X <- X
    time <- system.time(model <- nnet::multinom(y ~ X, data = data, maxit = 1e6, MaxNWts = 1e7, reltol = tol, abstol = 0,
                                                trace = FALSE))
    write_dense(list(rbind(0, coef(model))))
  } else if (method == "cv.glmnet") {
    folds <- integers("folds", n)
    time <- system.time(glmnet::cv.glmnet(X, y, family = "multinomial", alpha = alpha, lambda = penalties,
                                          standardize = FALSE, thresh = tol, maxit = 1e9, foldid = folds))
    used <- peak()
    # cv.glmnet keeps no coefficients of its folds: the same calls that it makes, again, to be judged.
    write_dense(unlist(lapply(seq_len(max(folds)), function(f) stacked(fit_glmnet(which(folds != f), tol))),
                       recursive = FALSE))
    return(c(time[["elapsed"]], used))
  } else {
    time <- system.time(model <- fit_glmnet(everything, tol))
    found <- stacked(model)
    if (kind == "lasso-path") write_sparse(found) else write_dense(found[length(found)])
  }
  c(time[["elapsed"]], peak())
}

if (method == "multinom") suppressMessages(library(nnet)) else {
  suppressMessages(library(glmnet))
  glmnet.control(fdev = 0, devmax = 1)  # all of the path, whatever it explains
}
cat("ready\n"); flush(stdout())
input <- file("stdin", "r")
while (length(line <- readLines(input, 1)) > 0) {
  measured <- run(as.numeric(line))
  cat("done", format(measured[1], digits = 6), format(measured[2], digits = 12, scientific = FALSE), "\n"); flush(stdout())
}
