"""Steps become batches and items: what rules read out of them, what follows, whether they still fit."""
