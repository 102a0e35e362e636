"""Federated grading of diabetic retinopathy: hospitals train one model and no image leaves any of them."""
