"""Differentiable maps between constrained and unconstrained spaces."""

from ppl.transforms.abs import AbsTransform
from ppl.transforms.affine import AffineTransform
from ppl.transforms.compose import ComposeTransform
from ppl.transforms.corr_cholesky import CorrCholeskyTransform
from ppl.transforms.exp import ExpTransform
from ppl.transforms.identity import IdentityTransform, identity_transform
from ppl.transforms.independent import IndependentTransform
from ppl.transforms.lower_cholesky import CholeskyProductTransform, LowerCholeskyTransform
from ppl.transforms.power import PowerTransform
from ppl.transforms.registry import ConstraintRegistry, as_constraint, as_transform, biject_to, transform_to
from ppl.transforms.sigmoid import SigmoidTransform
from ppl.transforms.softmax import SoftmaxTransform
from ppl.transforms.stick_breaking import StickBreakingTransform
from ppl.transforms.tanh import TanhTransform
from ppl.transforms.transform import InverseTransform, Transform

__all__ = ["AbsTransform", "AffineTransform", "CholeskyProductTransform", "ComposeTransform", "ConstraintRegistry",
           "CorrCholeskyTransform", "ExpTransform", "IdentityTransform", "IndependentTransform", "InverseTransform",
           "LowerCholeskyTransform", "PowerTransform", "SigmoidTransform", "SoftmaxTransform", "StickBreakingTransform",
           "TanhTransform", "Transform", "as_constraint", "as_transform", "biject_to", "identity_transform",
           "transform_to"]  # fmt: skip
