"""The mathematics of attribution, one method per file, on plain arrays.

losses      per-sample losses and their derivatives in the logits
objective   what a linear model's fit minimises, over all rows or without some
curvature   the inverse of its Hessian, and in which directions there is none
fit         whether the parameters are where the objective is least
outcome     the quantity that is explained: a margin or a loss
dot, influence, effect      rows to scores, sets of rows to predicted changes
"""
