"""Differentiable maps between constrained and unconstrained spaces."""

from ppl.transforms.abs import AbsTransform
from ppl.transforms.affine import AffineTransform
from ppl.transforms.compose import ComposeTransform
from ppl.transforms.corr_cholesky import CorrCholeskyTransform
from ppl.transforms.cumulative_distribution import CumulativeDistributionTransform
from ppl.transforms.exp import ExpTransform
from ppl.transforms.identity import IdentityTransform, identity_transform
from ppl.transforms.independent import IndependentTransform
from ppl.transforms.inside import KeepInside
from ppl.transforms.l1_ball import L1BallTransform
from ppl.transforms.lower_cholesky import (
    CholeskyProductTransform,
    CholeskyTransform,
    CorrMatrixCholeskyTransform,
    LowerCholeskyTransform,
    LowerTriangularTransform,
    ScaledUnitLowerCholeskyTransform,
    SoftplusLowerCholeskyTransform,
    SymmetricTransform,
    UnitLowerCholeskyTransform,
)
from ppl.transforms.lower_cholesky_affine import LowerCholeskyAffine
from ppl.transforms.ordered import OrderedTransform, PositiveOrderedTransform, SimplexToOrderedTransform
from ppl.transforms.orthonormal import DiscreteCosineTransform, HaarTransform, ZeroSumTransform
from ppl.transforms.permute import PermuteTransform
from ppl.transforms.power import PowerTransform
from ppl.transforms.rectifiers import ELUTransform, LeakyReLUTransform, PositivePowerTransform
from ppl.transforms.registry import ConstraintRegistry, as_constraint, as_transform, biject_to, transform_to
from ppl.transforms.reshape import ReshapeTransform
from ppl.transforms.side_by_side import CatTransform, StackTransform
from ppl.transforms.sigmoid import SigmoidTransform
from ppl.transforms.softmax import SoftmaxTransform
from ppl.transforms.softplus import SoftplusTransform
from ppl.transforms.sphere import SphereTransform
from ppl.transforms.stick_breaking import StickBreakingTransform
from ppl.transforms.tanh import TanhTransform
from ppl.transforms.transform import CachedTransform, InverseTransform, Transform

__all__ = ["AbsTransform", "AffineTransform", "CachedTransform", "CatTransform", "CholeskyProductTransform",
           "CholeskyTransform", "ComposeTransform", "ConstraintRegistry", "CorrCholeskyTransform",
           "CorrMatrixCholeskyTransform", "CumulativeDistributionTransform", "DiscreteCosineTransform", "ELUTransform",
           "ExpTransform", "HaarTransform", "IdentityTransform", "IndependentTransform", "InverseTransform", "KeepInside",
           "L1BallTransform", "LeakyReLUTransform", "LowerCholeskyAffine", "LowerCholeskyTransform",
           "LowerTriangularTransform", "OrderedTransform", "PermuteTransform", "PositiveOrderedTransform",
           "PositivePowerTransform", "PowerTransform", "ReshapeTransform", "ScaledUnitLowerCholeskyTransform",
           "SigmoidTransform", "SimplexToOrderedTransform", "SoftmaxTransform", "SoftplusLowerCholeskyTransform",
           "SoftplusTransform", "SphereTransform", "StackTransform", "StickBreakingTransform", "SymmetricTransform",
           "TanhTransform", "Transform", "UnitLowerCholeskyTransform", "ZeroSumTransform", "as_constraint", "as_transform",
           "biject_to", "identity_transform", "transform_to"]  # fmt: skip
