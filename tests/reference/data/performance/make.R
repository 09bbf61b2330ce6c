# Independent numbers for simstudy.performance: base R, car and effectsize. Run in this folder: Rscript make.R
#
# 1. study.csv: estimates of three methods, made up here, with failures. study_results.csv: measures and Monte Carlo
#    standard errors, written from the definitions in Morris, White & Crowther (2019, Statistics in Medicine 38:2074,
#    Table 6 and section 5.2); jackknife by leaving out one replicate after another; median, mad and trimmed mean by
#    R's own functions.
# 2. t_res.csv: the example data of the R package simhelpers, made again from its documented recipe (seed 20191228,
#    1,000 pairs of samples of 50 from N(.5, 1) and N(0, 1), Welch's t test); the package's printed results for these
#    data are in the test.
# 3. cells_*.csv, effects.csv: analyses of variance by car::Anova (types II and III) and effectsize.

options(digits = 17)
write <- function(x, file) write.csv(x, file, row.names = FALSE, quote = FALSE)

# --- 1 ---------------------------------------------------------------------------------------------------------------
set.seed(20190501)
truth <- 0.3
R <- 150
common <- rnorm(R)
study <- NULL
for (method in c("A", "B", "C")) {
  shift <- c(A = 0, B = 0.04, C = -0.1)[[method]]
  scale <- c(A = 0.2, B = 0.25, C = 0.15)[[method]]
  b <- truth + shift + scale * (0.8 * common + 0.6 * rnorm(R))
  se <- c(A = 0.2, B = 0.22, C = 0.18)[[method]] * sqrt(rchisq(R, 40) / 40)
  if (method == "B") b[c(7, 50:59)] <- NA      # failed
  if (method == "C") se[c(3, 99)] <- NA        # an estimate without SE
  if (method == "C") b[101] <- 9               # an outlier
  study <- rbind(study, data.frame(rep = 1:R, method = method, b = b, se = ifelse(is.na(b), NA, se), true = truth))
}
write(study, "study.csv")

z <- qnorm(0.975)
loo <- function(n, f) { # jackknife standard error of f(indices)
  values <- sapply(seq_len(n), function(i) f(setdiff(seq_len(n), i)))
  sqrt((n - 1) / n * sum((values - mean(values))^2))
}
rate <- function(hit) {
  p <- mean(hit)
  c(p, sqrt(p * (1 - p) / length(hit)))
}
results <- NULL
add <- function(method, measure, pair, jackknife = NA) {
  results <<- rbind(results, data.frame(method = method, measure = measure, value = pair[1], mcse = pair[2],
                                        jackknife = jackknife))
}
reference <- study[study$method == "A", ]
for (method in c("A", "B", "C")) {
  all <- study[study$method == method, ]
  x <- all$b[!is.na(all$b)]
  n <- length(x)
  add(method, "mean_estimate", c(mean(x), sd(x) / sqrt(n)))
  add(method, "bias", c(mean(x) - truth, sd(x) / sqrt(n)))
  add(method, "relative_bias", c(mean(x) / truth - 1, sd(x / truth) / sqrt(n)))
  add(method, "median_bias", c(median(x) - truth, NA))
  g <- floor(0.2 * n)
  low <- sort(x)[g + 1]
  high <- sort(x)[n - g]
  w <- pmin(pmax(x, low), high)
  add(method, "trimmed_bias", c(mean(x, trim = 0.2) - truth, sd(w) / ((1 - 2 * g / n) * sqrt(n))))
  add(method, "empirical_se", c(sd(x), sd(x) / sqrt(2 * (n - 1))), loo(n, function(i) sd(x[i])))
  add(method, "mad_se", c(mad(x), NA))
  e2 <- (x - truth)^2
  mse <- mean(e2)
  add(method, "mse", c(mse, sqrt(sum((e2 - mse)^2) / (n * (n - 1)))))
  j <- loo(n, function(i) sqrt(mean(e2[i])))
  add(method, "rmse", c(sqrt(mse), j), j)
  add(method, "median_abs_error", c(median(abs(x - truth)), NA))
  # what needs a standard error
  d <- all[!is.na(all$b) & !is.na(all$se), ]
  m <- nrow(d)
  v <- d$se^2
  modse <- sqrt(mean(v))
  add(method, "mean_se", c(mean(d$se), sd(d$se) / sqrt(m)))
  add(method, "median_se", c(median(d$se), NA))
  add(method, "model_se", c(modse, sqrt(var(v) / (4 * m * modse^2))), loo(m, function(i) sqrt(mean(v[i]))))
  ratio <- modse / sd(d$b)
  add(method, "se_ratio", c(ratio, ratio * sqrt(var(v) / (4 * m * modse^4) + 1 / (2 * (m - 1)))),
      loo(m, function(i) sqrt(mean(v[i])) / sd(d$b[i])))
  lower <- d$b - z * d$se
  upper <- d$b + z * d$se
  add(method, "coverage", rate(lower <= truth & truth <= upper))
  add(method, "bias_eliminated_coverage", rate(lower <= mean(d$b) & mean(d$b) <= upper))
  add(method, "miss_below", rate(upper < truth))
  add(method, "miss_above", rate(lower > truth))
  add(method, "rejection", rate(abs(d$b / d$se) > z))
  add(method, "ci_width", c(mean(upper - lower), sd(upper - lower) / sqrt(m)))
  if (method != "A") {
    both <- !is.na(all$b) & !is.na(reference$b)
    x <- all$b[both]
    y <- reference$b[both]
    n <- sum(both)
    add(method, "bias_difference", c(mean(x) - mean(y), sd(x - y) / sqrt(n)))
    rmse <- function(v) sqrt(mean((v - truth)^2))
    j <- loo(n, function(i) rmse(x[i]) - rmse(y[i]))
    add(method, "rmse_difference", c(rmse(x) - rmse(y), j), j)
    gain <- (sd(y) / sd(x))^2
    add(method, "relative_precision", c(gain - 1, 2 * gain * sqrt((1 - cor(x, y)^2) / (n - 1))),
        loo(n, function(i) var(y[i]) / var(x[i])))
    keep <- both & !is.na(all$se) & !is.na(reference$se)
    ends <- function(t) list(low = t$b[keep] - z * t$se[keep], up = t$b[keep] + z * t$se[keep])
    mine <- ends(all)
    theirs <- ends(reference)
    covered <- function(l) as.numeric(l$low <= truth & truth <= l$up)
    rejected <- function(l) as.numeric(l$low > 0 | l$up < 0)
    difference <- function(u) c(mean(u), sd(u) / sqrt(length(u)))
    add(method, "coverage_difference", difference(covered(mine) - covered(theirs)))
    add(method, "rejection_difference", difference(rejected(mine) - rejected(theirs)))
    add(method, "ci_width_difference", difference((mine$up - mine$low) - (theirs$up - theirs$low)))
  }
}
write(results, "study_results.csv")

# --- 2 ---------------------------------------------------------------------------------------------------------------
set.seed(20191228)
t_res <- t(replicate(1000, {
  one <- rnorm(50, 0.5, 1)
  two <- rnorm(50, 0, 1)
  test <- t.test(one, two)
  c(mean(one) - mean(two), test$conf.int)
}))
t_res <- data.frame(est = t_res[, 1], lower_bound = t_res[, 2], upper_bound = t_res[, 3], true_param = 0.5)
write(t_res, "t_res.csv")

# --- 3 ---------------------------------------------------------------------------------------------------------------
suppressMessages({
  library(car)
  library(effectsize)
})
options(contrasts = c("contr.sum", "contr.poly"))
set.seed(7)
cells <- expand.grid(J = c(30, 50, 100, 200), size = c("5", "10", "mixed"), icc = c(0.05, 0.1, 0.3))
cells$y <- with(cells, 5 / J + 0.3 * (size == "5") - 0.5 * icc + 2 * (size == "mixed") * icc + rnorm(nrow(cells), 0, 0.05))
for (name in c("J", "size", "icc")) cells[[name]] <- factor(cells[[name]])
effects <- NULL
keep_effects <- function(data, formula, design, weights = NULL) {
  model <- lm(formula, data)
  for (type in c(2, 3)) {
    table <- tryCatch(Anova(model, type = type), error = function(e) NULL)
    if (is.null(table)) next
    rows <- setdiff(rownames(table), "(Intercept)")
    total <- sum((data$y - mean(data$y))^2)
    if (type == 2) {
      partial <- eta_squared(table, partial = TRUE, ci = NULL, verbose = FALSE)
      omega <- omega_squared(table, partial = FALSE, ci = NULL, verbose = FALSE)
    }
    for (row in rows) {
      at <- if (type == 2) match(row, partial$Parameter) else NA
      effects <<- rbind(effects, data.frame(
        design = design, type = type, term = row, df = table[row, "Df"], ss = table[row, "Sum Sq"], total = total,
        partial = if (is.na(at)) NA else partial[[2]][at], omega = if (is.na(at)) NA else omega[[2]][at]
      ))
    }
  }
}
write(cells, "cells_balanced.csv")
keep_effects(cells, y ~ (J + size + icc)^2, "balanced")
gaps <- cells[-c(1, 5, 18, 30), ] # unbalanced: four cells have no number, no pair of levels is empty
write(gaps, "cells_unbalanced.csv")
keep_effects(gaps, y ~ (J + size + icc)^2, "unbalanced")
# replicates: 12 cells of different size
set.seed(8)
counts <- expand.grid(J = factor(c(30, 100)), size = factor(c("5", "10")), icc = factor(c(0.05, 0.1, 0.3)))
counts$n <- c(30, 25, 28, 30, 12, 30, 19, 30, 30, 27, 30, 8)
rows <- counts[rep(seq_len(nrow(counts)), counts$n), c("J", "size", "icc")]
rows$y <- with(rows, 0.2 * (J == "30") + 0.4 * (icc == "0.3") * (size == "5") + rnorm(nrow(rows)))
write(rows, "replicates.csv")
keep_effects(rows, y ~ (J + size + icc)^2, "replicates")
write(effects, "effects.csv")

writeLines(c(R.version.string, paste("car", packageVersion("car")), paste("effectsize", packageVersion("effectsize"))),
           "versions.txt")
