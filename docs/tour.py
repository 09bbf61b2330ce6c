# %% [markdown]
# # A tour: fit, compare, simulate, plan, report
#
# Cells are separated by `# %%`: an editor runs them one by one, `scripts/notebook` makes a notebook of them.

# %%
import simstudy

design = simstudy.validate(simstudy.init("contextual"))
design

# %% [markdown]
# ## One data set
#
# Here a data set of the design; a file or a DataFrame of your own does as well.

# %%
data = simstudy.simulate(design, cell=1, rep=0)
model = """
level: within
  y ~ bw*x
level: between
  y ~ bb*x
contextual := bb - bw
"""
fit = simstudy.fit(model, data, cluster="cluster", se="robust")
fit

# %%
fit.standardized().round(3)

# %%
fit.wald("bb == bw")

# %%
fit.plot()

# %% [markdown]
# ## All methods side by side

# %%
fits = simstudy.fit_all(model, data, cluster="cluster")
fits

# %% [markdown]
# ## A study

# %%
study = simstudy.run(design, reps=100, progress=False)
study

# %%
study.status()

# %%
study.plot(parameters="contextual")

# %%
study.plot("zip", parameters="contextual", estimators=["mlm_centered", "msem"])

# %%
study.replicate(0, 3)

# %% [markdown]
# ## Theory, without simulation

# %%
theory = study.theory()
theory

# %% [markdown]
# ## A plan

# %%
plan = simstudy.plan(
    design, "contextual", power=0.80, settings={"cluster_size": 20}, reps=1000, max_reps=4000, progress=False
)
plan

# %%
plan.plot()

# %% [markdown]
# ## A report

# %%
study.report()
