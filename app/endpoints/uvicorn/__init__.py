"""uvicorn's protocol classes, extended by limits. They use private attributes: test them with each new release."""
