"""Which tests run every day on which backend."""

from ppl.testing.case import Case

# numpy and torch, which compile nothing, run every row every day. jax compiles each operation of each shape, and the strict
# backend repeats what numpy shows; there the first row of a family stands for the others until night, but for their densities.
SPARING = {"jax", "strict"}
EVERY_ROW = {"test_log_prob_is_the_oracles"}
# On jax a distribution travels as a tree, which has tests of its own; its pickles are those of the other libraries.
NIGHTLY_ON_JAX = {"test_copies_and_pickles_are_the_same_distribution"}
# Each of these runs models with one value after another, or with many of them, an operation at a time.
NIGHTLY_ON_JAX |= {
    "test_assignments_of_each_row_are_summed_out",
    "test_each_step_of_each_series",
    "test_sites_before_and_after_a_loop",
    "test_negative_control_a_wrong_sum_over_steps_is_seen",
    "test_draws_of_another_site_tell_of_the_discrete_one_first",
    "test_max_plate_nesting_is_too_small",
    "test_minibatch_counts_for_its_plate",
    "test_negative_control_another_model_has_another_evidence",
    "test_no_false_alarm",
    "test_report_of_a_right_model",
    "test_rows_of_a_plate_as_a_loop",
    "test_sequential_is_parallel",
    "test_sites_that_a_guide_lacks_are_said",
    "test_sums_are_those_of_brute_force",
}
# Each compiles a dozen programs or more; a sister of it runs on jax every day.
NIGHTLY_ON_JAX |= {
    "test_a_scale_and_a_plate_in_between_change_nothing",
    "test_any_chain_is_summed_exactly",
    "test_beta_posterior",
    "test_the_mode_of_steps_that_look_back",
    "test_the_most_probable_path_and_draws_of_all_steps",
    "test_discrete_posterior_by_score_function",
    "test_draws_under_vmap",
    "test_subsampled_plate",
    "test_these_run_compiled",
    "test_von_mises_pathwise_gradient",
}
# What processes and files do is alike whatever the library, and takes seconds for each.
NIGHTLY_BUT_ON_NUMPY = {
    "test_killed_run_goes_on_in_a_new_process",
    "test_logistic_regression_on_a_csv_file",
    "test_chain_that_dies_is_named_and_the_others_come_back",
    "test_continued_run_of_a_low_rank_metric_is_the_whole_run",
    "test_dask_cluster_runs_chains",
    "test_continued_chains_are_those_one_after_another",
    "test_processes_give_the_draws_of_one_after_another",
    "test_processes_of_jax_sample_the_posterior",
}
# Fits of whole examples; conjugate models are fitted on every backend every day.
NIGHTLY_BUT_ON_NUMPY |= {
    "test_a_fit_reaches_the_posterior",
    "test_bayesian_regression",
    "test_gaussian_mixture",
    "test_hierarchical",
    "test_posterior_of_a_mixture",
    "test_variational_autoencoder",
}
# Tables of formulas that are written once over ppl.ops and hold hundreds of rows, and long lists of examples: on jax every eighth
# test runs every day.
SAMPLED_ON_JAX = (
    "test_autoguide_exact",
    "test_autoguide_refusals",
    "test_autoguide_start",
    "test_autoguide_structured",
    "test_chain",
    "test_constraints",
    "test_contract",
    "test_control_flow",
    "test_docstrings",
    "test_elimination",
    "test_elbo_",
    "test_enum_handler",
    "test_enumeration_refusals",
    "test_families_",
    "test_funsor",
    "test_generated",
    "test_hmc_utilities",
    "test_hmm",
    "test_importance",
    "test_indexing",
    "test_infer_discrete",
    "test_kl",
    "test_mcmc_discrete",
    "test_minipyro",
    "test_newton",
    "test_predictive",
    "test_random",
    "test_rejector",
    "test_render",
    "test_reparam",
    "test_schedulers",
    "test_special",
    "test_spanning_tree",
    "test_stats",
    "test_trace_enum_elbo",
    "test_transforms_more",
    "test_wrappers_pickle",
)
STRIDE = 8
# Of what is asked of every family, but for its densities, jax answers a fifth every day: each answer is a program or more.
FAMILIES, STRIDE_OF_FAMILIES = "test_distributions", 5
# Families whose every density is dozens of programs; ``test_hmm`` has some of them on jax every day.
FAMILIES_NIGHTLY_ON_JAX = {"DiscreteHMM", "GaussianHMM"}


def pytest_collection_modifyitems(config, items):
    if config.getoption("--nightly"):
        return
    first, kept, left, met, asked = {}, [], [], 0, 0
    for item in items:
        parameters = item.callspec.params if hasattr(item, "callspec") else {}
        case = parameters.get("case")
        repeats = isinstance(case, Case) and first.setdefault(case.name, case) is not case
        sparing = parameters.get("backend") in SPARING and item.originalname not in EVERY_ROW
        on_jax = parameters.get("backend") == "jax"
        # Beside minipyro, which has no other tests, the full library answers its questions on numpy and torch.
        elsewhere = on_jax and (item.originalname in NIGHTLY_ON_JAX or parameters.get("frontend") == "full")
        elsewhere = elsewhere or (on_jax and isinstance(case, Case) and case.name in FAMILIES_NIGHTLY_ON_JAX)
        elsewhere = elsewhere or (parameters.get("backend") != "numpy" and item.originalname in NIGHTLY_BUT_ON_NUMPY)
        if on_jax and item.path.stem.startswith(SAMPLED_ON_JAX):
            elsewhere = elsewhere or met % STRIDE != 0
            met += 1
        if on_jax and item.path.stem == FAMILIES and sparing and not repeats:
            elsewhere = elsewhere or asked % STRIDE_OF_FAMILIES != 0
            asked += 1
        (left if (repeats and sparing) or elsewhere else kept).append(item)
    if left:
        config.hook.pytest_deselected(items=left)
        items[:] = kept
