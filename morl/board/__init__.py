"""Look at fronts and choose a policy: a Pareto tab in TensorBoard, and the same page as one file.

`files`, `folder`, `evaluations` read run folders that are still being written; `library` keeps all runs under one
folder; `folds` makes one of several seeds; `answers` returns it as JSON; `plugin` answers TensorBoard, `page`
writes it into one HTML file. The front end in `front/` is plain JavaScript modules: docs/design/board.md.
"""
