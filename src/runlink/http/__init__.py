"""What runlink answers by HTTP. The only room that is asynchronous."""
