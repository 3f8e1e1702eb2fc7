"""Learnable parameters by name."""

from ppl.params.param_store import (
    ParamStoreDict,
    clear_param_store,
    get_param_store,
    module_from_param_with_module_name,
    param_with_module_name,
    user_param_name,
)

__all__ = ["ParamStoreDict", "clear_param_store", "get_param_store", "module_from_param_with_module_name",
           "param_with_module_name", "user_param_name"]  # fmt: skip
