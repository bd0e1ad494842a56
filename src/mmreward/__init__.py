"""mmreward: reward models that look at the image, trained, evaluated and compared in one place."""
