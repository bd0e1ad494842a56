from mmreward.losses.base import Loss, LossOutput, pair_differences, weighted_mean
from mmreward.losses.bradley_terry import BradleyTerry

__all__ = ["BradleyTerry", "Loss", "LossOutput", "pair_differences", "weighted_mean"]
