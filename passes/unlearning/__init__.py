"""The mathematics of removal, on plain arrays: `newton` takes rows out of a fit, `gap` judges how well."""
