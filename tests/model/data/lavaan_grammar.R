# Parameter tables of lavaan for every text of lavaan_grammar.txt (blocks that begin with "%%% name").
# Run in this folder: Rscript lavaan_grammar.R > lavaan_grammar.tsv
# Written with lavaan 0.6-14 (the first line of the table names the version that wrote it).
suppressMessages(library(lavaan))
lines <- readLines("lavaan_grammar.txt", encoding = "UTF-8")
marks <- grep("^%%% ", lines)
cat("# lavaan", as.character(packageVersion("lavaan")), "\n")
cat("case\tlhs\top\trhs\tblock\tfree\tustart\tlabel\tplabel\tlower\tupper\n")
for (k in seq_along(marks)) {
  name <- sub("^%%% ", "", lines[marks[k]])
  last <- if (k < length(marks)) marks[k + 1] - 1 else length(lines)
  text <- paste(lines[(marks[k] + 1):last], collapse = "\n")
  table <- try(suppressWarnings(as.data.frame(lavaanify(text, auto = TRUE, model.type = "sem", meanstructure = TRUE,
                                                        fixed.x = FALSE))), silent = TRUE)
  if (inherits(table, "try-error")) {
    cat(name, "ERROR", sep = "\t"); cat("\n")
    next
  }
  for (bound in c("lower", "upper")) if (is.null(table[[bound]])) table[[bound]] <- NA
  for (i in seq_len(nrow(table))) {
    row <- table[i, ]
    cat(name, row$lhs, row$op, row$rhs, row$block, row$free, row$ustart, row$label, row$plabel, row$lower, row$upper,
        sep = "\t")
    cat("\n")
  }
}
