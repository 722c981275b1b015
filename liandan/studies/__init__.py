"""Many runs or none: what a recipe would cost before it is started."""
